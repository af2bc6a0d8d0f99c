"""From a setup to objects: defaults from metadata, devices, and what does not fit refused by name."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from saetui import embedded
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UsageError, UserError
from saetui.lm.direct import DirectModel
from saetui.lm.one_layer import OneLayer, OneLayerConfig, compatibility_form
from saetui.loading import check_fit, load_lm, load_sae, open_rows, resolve, resolve_device
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAE, SAEMetadata
from saetui.setup import Setup
from tests.hub_cache import TEXT, small_tokenizer
from tests.tiny import losses, say_checked

HOOK = "blocks.0.hook_mlp_out"
D = 16


def raw_model(d_vocab: int = 300) -> OneLayer:
    config = OneLayerConfig(d_model=D, n_heads=2, d_head=8, d_mlp=32, n_ctx=64, d_vocab=d_vocab)
    generator = torch.Generator().manual_seed(0)
    return OneLayer(
        config, {n: torch.randn(s, generator=generator) * 0.5 for n, s in config.shapes().items()}
    )


def save_model(folder: Path, model: OneLayer) -> Path:
    model.save(folder, dtype=torch.float32)
    say_checked(folder)
    Tokenizer(small_tokenizer()).save(folder / "tokenizer.json")
    return folder


def sae_for(d_in: int = D, centred: bool = True, **metadata: str) -> SAE:
    """An SAE of two features a direction, which reconstructs exactly: ``relu(x) - relu(-x)``, less the
    mean over the directions where it is made for ``centred`` activations."""
    eye = torch.eye(d_in)
    both = torch.cat([eye, -eye])
    W_dec = both @ (eye - 1 / d_in) if centred else both
    return SAE(
        both.T.contiguous(), torch.zeros(2 * d_in), W_dec, torch.zeros(d_in), metadata=SAEMetadata(**metadata)
    )


@pytest.fixture
def lm(tmp_path: Path) -> DirectModel:
    folder = save_model(tmp_path / "lm", compatibility_form(raw_model()))
    loaded = load_lm(Setup(model=str(folder), hook_name=HOOK, device="cpu"))
    assert isinstance(loaded, DirectModel)
    return loaded


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedded world ``real`` as it is shipped, but tiny."""
    folder = tmp_path / "models" / "real"
    save_model(folder / "lm", compatibility_form(raw_model()))
    save_saelens(sae_for(model_name="real", hook_name=HOOK), folder / "narrow")
    (folder / "criteria.toml").write_text("")
    (folder / "world.toml").write_text(
        'title = "tiny"\nhook_name = "blocks.0.hook_mlp_out"\nseq_len = 24\nlm = "lm"\n'
        'narrow_sae = "narrow"\nwide_saes = []\ncriteria = "criteria.toml"\ntarget = 3\nthreshold = 1.0\n'
        'prompts = ["a multi-line text, re-read"]\n'
    )
    monkeypatch.setattr(embedded, "models_folder", lambda: tmp_path / "models")
    return folder


def test_an_embedded_world_needs_no_more_than_its_name(world: Path):
    setup = Setup(model="real", device="cpu")
    lm, sae = load_lm(setup), load_sae(setup)
    assert (lm.name, lm.hook_name, lm.d_in, lm.n_ctx) == ("real", HOOK, D, 64)
    assert check_fit(lm, sae) == []
    tokens = torch.randint(0, 300, (2, 10))
    torch.testing.assert_close(lm.activations(tokens), compatibility_form(raw_model()).mlp_out(tokens))
    assert resolve(setup) == replace(setup, hook_name=HOOK, dataset="real", seq_len=24)


def test_the_saes_metadata_is_the_default_for_model_and_hook_point(world: Path, tmp_path: Path):
    sae = sae_for(model_name="gelu-1l", hook_name="blocks.0.hook_resid_mid")
    save_saelens(sae, tmp_path / "sae")
    resolved = resolve(Setup(sae=str(tmp_path / "sae")))
    assert (resolved.model, resolved.hook_name) == ("gelu-1l", "blocks.0.hook_resid_mid")
    assert resolved.dataset == "NeelNanda/c4-code-20k" and resolved.seq_len == 128
    given = Setup(model="synthetic", sae=str(tmp_path / "sae"), hook_name=HOOK, dataset="a/b", seq_len=9)
    (world.parent / "synthetic").symlink_to(world)
    assert resolve(given) == given


def test_direct_losses_are_those_of_the_whole_model(lm: DirectModel):
    tokens = torch.randint(0, 300, (5, 12))
    logits = lm.model.logits(tokens)[:, :-1].log_softmax(-1)
    expected = -logits.gather(-1, tokens[:, 1:, None])[..., 0]
    torch.testing.assert_close(losses(lm, tokens), expected)
    zeroed = losses(lm, tokens, torch.zeros_like)
    resid = lm.model.resid_mid(tokens)
    logits = lm.model.unembed(resid)[:, :-1].log_softmax(-1)
    torch.testing.assert_close(zeroed, -logits.gather(-1, tokens[:, 1:, None])[..., 0])


def test_direct_forward_in_parts_is_the_forward(lm: DirectModel, monkeypatch: pytest.MonkeyPatch):
    tokens = torch.randint(0, 300, (11, 12))
    whole = lm.activations(tokens)
    monkeypatch.setattr("saetui.lm.direct._TOKENS_AT_ONCE", {"cpu": 48})
    torch.testing.assert_close(lm.activations(tokens), whole)


def test_direct_model_refuses_tokens_that_do_not_fit(lm: DirectModel):
    with pytest.raises(UsageError, match="65 tokens, but the model takes at most 64"):
        lm.activations(torch.zeros(1, 65, dtype=torch.long))
    with pytest.raises(UsageError, match="token 300 is not in the model's vocabulary of 300"):
        losses(lm, torch.full((1, 5), 300))


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:x", "mps", ""):
        with pytest.raises(UsageError, match="choose auto, cpu, cuda"):
            resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(UserError, match="torch sees no GPU here; use --device cpu"):
        load_lm(Setup(device="cuda"))


def test_what_does_not_fit_is_refused_with_both_sides_named(lm: DirectModel):
    for sae, line in (
        (sae_for(d_in=512), r"width 512, but .*lm has 16 at blocks\.0\.hook_mlp_out"),
        (
            sae_for(hook_name="blocks.0.hook_resid_mid"),
            r"reads blocks\.0\.hook_resid_mid, but .* read at blocks\.0",
        ),
    ):
        with pytest.raises(UsageError, match=line):
            check_fit(lm, sae)


def test_an_sae_of_another_well_known_model_is_refused(world: Path):
    lm = load_lm(Setup(model="real", device="cpu"))
    with pytest.raises(UsageError, match="is an SAE of gelu-1l, but the model is real"):
        check_fit(lm, sae_for(model_name="gelu-1l"))


def test_two_names_of_one_hook_point_fit(lm: DirectModel):
    assert check_fit(lm, sae_for(hook_name="blocks.0.mlp.hook_out")) == []


def test_another_model_name_is_only_a_warning(lm: DirectModel):
    (warning,) = check_fit(lm, sae_for(model_name="gpt2-small"))
    assert "gpt2-small" in warning


def test_an_sae_that_reconstructs_nothing_is_noticed(lm: DirectModel):
    (warning,) = check_fit(
        lm, replace(sae_for(), b_dec=torch.full((D,), 9.0), b_enc=torch.full((2 * D,), -99.0))
    )
    assert "FVU" in warning


def test_an_sae_of_centred_activations_on_others_is_noticed(lm: DirectModel):
    raw = DirectModel(raw_model(), lm.tokenizer, "raw")
    assert check_fit(lm, sae_for(centred=True)) == []
    assert check_fit(raw, sae_for(centred=False)) == []
    (warning,) = check_fit(raw, sae_for(centred=True))
    assert "trained on centred activations, and raw's are uncentred" in warning


def test_a_tokenizer_with_more_tokens_than_the_model(tmp_path: Path):
    folder = save_model(tmp_path / "lm", raw_model(d_vocab=200))
    with pytest.raises(UserError, match="300 tokens but its vocabulary is 200"):
        load_lm(Setup(model=str(folder), hook_name=HOOK, device="cpu"))


def test_what_is_missing_is_asked_for(tmp_path: Path):
    folder = str(save_model(tmp_path / "lm", raw_model()))
    with pytest.raises(UsageError, match="--hook"):
        load_lm(Setup(model=folder, device="cpu"))
    with pytest.raises(UsageError, match="--sae"):
        load_sae(Setup(model=folder))
    tokenizer = Tokenizer(small_tokenizer())
    for dataset, line in (("", "--dataset"), ("no/such/place", "no data at"), ("./nowhere", "no data at")):
        with pytest.raises(UsageError, match=line):
            open_rows(Setup(model=folder, dataset=dataset), tokenizer, "train")
    with pytest.raises(UsageError, match="at least 2 tokens"):
        open_rows(Setup(model=folder, dataset="a", seq_len=1), tokenizer, "train")


def test_own_data_by_path(tmp_path: Path):
    Dataset.from_dict({"text": TEXT * 20}).to_parquet(tmp_path / "mine.parquet")
    setup = Setup(model="anything", dataset=str(tmp_path / "mine.parquet"), seq_len=32)
    told: list[str] = []
    rows = open_rows(
        setup, Tokenizer(small_tokenizer()), "train", progress=lambda share, line: told.append(line)
    )
    assert rows.read(0, 4).shape == (4, 32) and told
    with pytest.raises(UserError, match="too small"):
        open_rows(replace(setup, seq_len=60_000), Tokenizer(small_tokenizer()), "train")


def test_the_synthetic_corpus_is_for_its_own_vocabulary():
    with pytest.raises(UsageError, match="synthetic model only"):
        open_rows(Setup(model="x", dataset="synthetic"), Tokenizer(small_tokenizer()), "train")


def test_a_shipped_kind_of_model_loads_without_heavy_libraries(tmp_path: Path):
    """TransformerLens takes seconds to import; an embedded world must not wait for it."""
    folder = save_model(tmp_path / "lm", compatibility_form(raw_model()))
    save_saelens(sae_for(hook_name=HOOK), tmp_path / "sae")
    code = (
        "import sys; from saetui.loading import *; from saetui.setup import Setup\n"
        f"setup = Setup(model={str(folder)!r}, sae={str(tmp_path / 'sae')!r}, device='cpu')\n"
        "print(check_fit(load_lm(setup), load_sae(setup)))\n"
        "print([m for m in ('transformer_lens', 'transformers', 'datasets', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"
