"""SAE files: every format read into one convention, ours written, damage refused in one line."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from saetui.errors import UserError
from saetui.sae.fold import fold_W_dec_norm
from saetui.sae.formats import load, read_density, save_saelens
from saetui.sae.sae import SAE, SAEMetadata

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "expected.safetensors").is_file())


def copy(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / name, tmp_path / name))


def random_sae(activation: str = "relu", d_in: int = 8, d_sae: int = 16) -> SAE:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return SAE(
        W_enc=draw(d_in, d_sae),
        b_enc=draw(d_sae),
        W_dec=draw(d_sae, d_in),
        b_dec=draw(d_in),
        activation=activation,  # pyright: ignore[reportArgumentType]
        k=3 if activation == "topk" else None,
        threshold=draw(d_sae).abs() if activation == "jumprelu" else None,
        metadata=SAEMetadata(
            name="mine",
            model_name="gelu-1l",
            hook_name="blocks.0.hook_mlp_out",
            context_size=128,
            prepend_bos=True,
            extra={"l0": 3.5, "note": {"a": [1, 2]}},
        ),
    )


def test_every_format_has_a_golden_folder():
    assert {name.split("_")[0] for name in FOLDERS} == {"neel", "saelens", "dictionary"}
    assert len(FOLDERS) == 13


@pytest.mark.parametrize("name", FOLDERS)
def test_golden_activations_and_reconstructions(name: str):
    """What each format's own definition, or SAELens itself, computed (golden/make*.py)."""
    expected = load_file(GOLDEN / name / "expected.safetensors")
    sae = load(GOLDEN / name)
    f = sae.encode(expected["x"])
    torch.testing.assert_close(f, expected["f"], atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(sae.decode(f), expected["x_hat"], atol=5e-6, rtol=1e-5)
    assert 0 < (expected["f"] > 0).float().mean() < 1


def test_metadata_of_each_format():
    neel = load(GOLDEN / "neel").metadata
    assert (neel.model_name, neel.hook_name, neel.context_size) == ("gelu-1l", "blocks.0.hook_mlp_out", 128)
    assert neel.extra["source_cfg"]["l1_coeff"] == 3e-4
    theirs = load(GOLDEN / "saelens_topk").metadata
    assert (theirs.hook_name, theirs.prepend_bos) == ("blocks.0.hook_mlp_out", True)
    assert theirs.dataset == "NeelNanda/c4-code-tokenized-2b"
    assert theirs.extra["model_from_pretrained_kwargs"] == {"center_writing_weights": True}
    old = load(GOLDEN / "saelens_before_6").metadata
    assert (old.model_name, old.hook_name) == ("gpt2-small", "blocks.8.hook_resid_pre")
    learned = load(GOLDEN / "dictionary_learning_AutoEncoder").metadata
    assert (learned.model_name, learned.hook_name) == (
        "EleutherAI/pythia-70m-deduped",
        "blocks.3.hook_resid_post",
    )


@pytest.mark.parametrize("activation", ["relu", "topk", "jumprelu"])
def test_saelens_round_trip_loses_nothing(activation: str, tmp_path: Path):
    sae, density = random_sae(activation), torch.linspace(0, 0.5, 16)
    save_saelens(sae, tmp_path / "out", density=density)
    back = load(tmp_path / "out")
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(back, name), getattr(sae, name))
    assert (back.activation, back.k) == (sae.activation, sae.k)
    assert sae.threshold is None or torch.equal(back.threshold, sae.threshold)  # pyright: ignore[reportArgumentType]
    assert back.metadata == sae.metadata
    read = read_density(tmp_path / "out")
    assert read is not None
    torch.testing.assert_close(read, density, atol=1e-7, rtol=1e-5)


def test_saelens_config_is_what_version_6_asks_for(tmp_path: Path):
    save_saelens(random_sae("topk"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "cfg.json").read_text())
    assert config["architecture"] == "topk" and config["k"] == 3 and config["dtype"] == "float32"
    assert config["apply_b_dec_to_input"] is True and config["normalize_activations"] == "none"
    assert config["metadata"]["sae_lens_version"].startswith("6.")


def test_saving_replaces_an_sae_and_nothing_else(tmp_path: Path):
    save_saelens(random_sae(), tmp_path / "out")
    save_saelens(random_sae("topk"), tmp_path / "out")
    assert load(tmp_path / "out").activation == "topk"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not an SAE"):
        save_saelens(random_sae(), tmp_path / "home")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"


def test_one_of_several_neel_files_is_named(tmp_path: Path):
    folder = copy("neel", tmp_path)
    shutil.copy(folder / "47.pt", folder / "25.pt")
    shutil.copy(folder / "47_cfg.json", folder / "25_cfg.json")
    with pytest.raises(UserError, match=r"25\.pt, 47\.pt"):
        load(folder)
    assert load(folder / "25.pt").d_sae == 16


def test_oldest_neel_configuration_and_an_instance_axis(tmp_path: Path):
    """run1's configuration says only ``d_mlp``; wenxus' code leaves a leading axis of one."""
    tensors = torch.load(GOLDEN / "neel" / "47.pt", weights_only=True)
    torch.save({name: tensor[None] for name, tensor in tensors.items()}, tmp_path / "25.pt")
    (tmp_path / "25_cfg.json").write_text(json.dumps({"d_mlp": 8, "dict_mult": 2, "seq_len": 128}))
    sae = load(tmp_path / "25.pt")
    assert sae.metadata.hook_name == "blocks.0.mlp.hook_post" and sae.d_in == 8


def test_dictionary_learning_checkpoint_finds_its_configuration(tmp_path: Path):
    folder = copy("dictionary_learning_AutoEncoder", tmp_path)
    (folder / "checkpoints").mkdir()
    shutil.move(folder / "ae.pt", folder / "checkpoints" / "ae_1000.pt")
    assert load(folder / "checkpoints" / "ae_1000.pt").metadata.context_size == 128


def test_hub_cache_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The hub cache's own layout; HF_HUB_OFFLINE=1 is set for all tests."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--NeelNanda--sparse_autoencoder"
    shutil.copytree(GOLDEN / "neel", repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    assert load("NeelNanda/sparse_autoencoder/47.pt").d_sae == 16
    with pytest.raises(UserError, match=r"no 25\.pt"):
        load("NeelNanda/sparse_autoencoder/25.pt")
    with pytest.raises(UserError, match="hub cannot be reached"):
        load("wenxus/sparse_autoencoder/1.pt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
@pytest.mark.parametrize("name", FOLDERS)
def test_torn_weights_are_one_line(name: str, share: float, tmp_path: Path):
    folder = copy(name, tmp_path)
    weights = next(
        path
        for path in folder.iterdir()
        if path.suffix in (".pt", ".safetensors") and path.stem != "expected"
    )
    weights.write_bytes(weights.read_bytes()[: int(weights.stat().st_size * share)])
    with pytest.raises(UserError) as caught:
        load(folder)
    assert "\n" not in str(caught.value) and str(weights) in str(caught.value)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


@pytest.mark.parametrize("name", ["neel", "dictionary_learning_AutoEncoder"])
def test_a_pickle_that_runs_code_is_refused_unrun(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = copy(name, tmp_path)
    monkeypatch.chdir(tmp_path)
    weights = next(folder.glob("*.pt"))
    for write in (
        lambda: torch.save({"W_enc": Evil()}, weights),
        lambda: weights.write_bytes(pickle.dumps(Evil(), protocol=2)),
    ):
        write()
        with pytest.raises(UserError, match="never runs code"):
            load(folder)
    assert not (tmp_path / "pwned").exists()


def edit(path: Path, **changes: object) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("name", "file", "changes", "line"),
    [
        ("neel", "47_cfg.json", {"act_size": 512}, r"d_in is 8 in W_enc but 512 in its configuration"),
        (
            "neel",
            "47_cfg.json",
            {"enc_dtype": "fp16"},
            r"W_enc is float32 but its configuration says float16",
        ),
        ("saelens_standard", "cfg.json", {"d_sae": 32}, r"d_sae is 16 in W_enc but 32 in its configuration"),
        (
            "saelens_standard",
            "cfg.json",
            {"dtype": "bfloat16"},
            "float32 but its configuration says bfloat16",
        ),
        (
            "saelens_standard",
            "cfg.json",
            {"architecture": "gated"},
            "'gated' is not supported: standard, topk",
        ),
        (
            "saelens_standard",
            "cfg.json",
            {"normalize_activations": "layer_norm"},
            "'layer_norm' is not supported",
        ),
        (
            "saelens_standard",
            "cfg.json",
            {"normalize_activations": "expected_average_only_in"},
            "its scale is missing",
        ),
        ("saelens_topk", "cfg.json", {"k": None}, "needs k"),
        ("saelens_before_6", "cfg.json", {"finetuning_scaling_factor": True}, "fine-tuned scaling factors"),
        (
            "dictionary_learning_AutoEncoder",
            "config.json",
            {"trainer": {"dict_class": "GatedAutoEncoder"}},
            "Gated",
        ),
    ],
)
def test_disagreement_names_both_sides(name: str, file: str, changes: dict, line: str, tmp_path: Path):
    folder = copy(name, tmp_path)
    edit(folder / file, **changes)
    with pytest.raises(UserError, match=line) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_tensors_that_do_not_fit(tmp_path: Path):
    folder = copy("saelens_standard", tmp_path)
    whole = load_file(folder / "sae_weights.safetensors")
    for change, line in (
        ({"b_dec": torch.zeros(9)}, "d_in is 9 in b_dec but 8"),
        ({"b_dec": torch.zeros(8, dtype=torch.int32)}, "b_dec is int32"),
        ({"b_dec": torch.full((8,), torch.nan)}, "b_dec holds NaN"),
        ({"W_enc": torch.zeros(8)}, r"W_enc has shape \[8\]"),
    ):
        save_file({**whole, **change}, folder / "sae_weights.safetensors")
        with pytest.raises(UserError, match=line):
            load(folder)
    del whole["W_dec"]
    save_file(whole, folder / "sae_weights.safetensors")
    with pytest.raises(UserError, match="no tensor W_dec"):
        load(folder)


def test_backup_of_an_unfinished_run_is_refused(tmp_path: Path):
    folder = copy("dictionary_learning_AutoEncoder", tmp_path)
    torch.save({"step": 3, "ae": {}, "optimizer": {}, "norm_factor": 2.0}, folder / "ae.pt")
    with pytest.raises(UserError, match="unfinished training run"):
        load(folder)


@pytest.mark.parametrize("source", ["nowhere", "./nowhere", "/nowhere/at/all"])
def test_nothing_there(source: str):
    with pytest.raises(UserError, match="no such file"):
        load(source)


def test_an_unknown_folder_says_what_is_known(tmp_path: Path):
    with pytest.raises(UserError, match="SAELens"):
        load(tmp_path)


@pytest.mark.parametrize("activation", ["relu", "jumprelu"])
def test_folding_decoder_norms(activation: str):
    sae = random_sae(activation)
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    folded = fold_W_dec_norm(sae)
    torch.testing.assert_close(folded.W_dec.norm(dim=1), torch.ones(16))
    torch.testing.assert_close(folded.encode(x), sae.encode(x) * sae.W_dec.norm(dim=1), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(
        folded.decode(folded.encode(x)), sae.decode(sae.encode(x)), atol=1e-4, rtol=1e-5
    )


def test_folding_decoder_norms_of_topk_is_refused_unless_they_are_equal():
    sae = random_sae("topk")
    with pytest.raises(UserError, match="TopK"):
        fold_W_dec_norm(sae)
    equal = replace(sae, W_dec=3 * sae.W_dec / sae.W_dec.norm(dim=1, keepdim=True))
    assert fold_W_dec_norm(equal).W_dec.norm(dim=1).allclose(torch.ones(16))
