"""Language models: gelu-1l from the hub cache, TransformerLens's bridge at any hook point, losses.

The one module of these tests that imports TransformerLens, which takes seconds.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge.sources import native

from saetui import embedded
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UsageError, UserError
from saetui.lm import bridge as bridges
from saetui.lm import legacy
from saetui.lm.bridge import BridgeModel
from saetui.lm.direct import DirectModel
from saetui.lm.loss import next_token_losses
from saetui.lm.one_layer import OneLayer, OneLayerConfig, compatibility_form
from saetui.loading import load_lm
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAE, SAEMetadata
from saetui.setup import Setup
from tests.hub_cache import add_legacy_model, add_tokenizer, legacy_config, legacy_state, small_tokenizer
from tests.tiny import losses

CPU = torch.device("cpu")
HOOK = "blocks.0.hook_mlp_out"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(small_tokenizer())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache with gelu-1l's tokenizer."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    add_tokenizer(tmp_path, "NeelNanda/gpt-neox-tokenizer-digits", small_tokenizer())
    return tmp_path


def tokens(rows: int = 3, seq: int = 20, d_vocab: int = 300) -> torch.Tensor:
    return torch.randint(0, d_vocab, (rows, seq), generator=torch.Generator().manual_seed(5))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def two_layers(tokenizer: Tokenizer, hook_name: str) -> BridgeModel:
    config = TransformerBridgeConfig(
        d_model=32, n_layers=2, d_mlp=64, d_head=8, n_heads=4, n_ctx=32, d_vocab=tokenizer.d_vocab,
        act_fn="gelu", normalization_type="LN", positional_embedding_type="standard",
        architecture="TransformerLensNative", seed=0,
    )  # fmt: skip
    bridge = native.boot(config)
    bridge.enable_compatibility_mode(disable_warnings=True)
    return BridgeModel(bridge, tokenizer, "tiny", hook_name, CPU)


def one_layer(tokenizer: Tokenizer) -> OneLayer:
    config = OneLayerConfig(32, 4, 8, 64, 32, tokenizer.d_vocab)
    generator = torch.Generator().manual_seed(0)
    return OneLayer(config, {n: torch.randn(s, generator=generator) for n, s in config.shapes().items()})


@pytest.mark.parametrize("normalization", ["LN", "LNPre"])
@pytest.mark.parametrize("centred", [True, False])
def test_gelu_1l_from_the_hub_cache(cache: Path, normalization: str, centred: bool):
    """The direct forward agrees with TransformerLens in compatibility mode on the raw checkpoint."""
    config = legacy_config(d_vocab=300, normalization=normalization)
    state = legacy_state(config)
    add_legacy_model(cache, "NeelNanda/GELU_1L512W_C4_Code", config, state)
    lm = legacy.load("gelu-1l", HOOK, CPU, centred=centred)
    assert isinstance(lm, DirectModel)
    assert (lm.d_in, lm.n_ctx, lm.tokenizer.bos_token_id) == (32, 64, 1)
    theirs = bridges.boot_legacy("NeelNanda/GELU_1L512W_C4_Code", state, CPU, centred)
    other = BridgeModel(theirs, lm.tokenizer, "gelu-1l", HOOK, CPU)
    x = lm.activations(tokens())
    assert relative(x, other.activations(tokens())) < 1e-5
    # Along the ones direction W_U reads nothing, and with LNPre TransformerLens leaves it as it is.
    assert relative(lm.W_U, other.W_U - other.W_U.mean(0) + lm.W_U.mean(0)) < 1e-5
    assert relative(losses(lm, tokens()), losses(other, tokens())) < 1e-5
    mean = x.mean(-1).abs().max()
    assert mean < 1e-6 if centred else mean > 0.1


def test_the_comparison_with_transformer_lens_is_made_once_for_given_weights(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    config = legacy_config(d_vocab=300)
    add_legacy_model(cache, "NeelNanda/GELU_1L512W_C4_Code", config, legacy_state(config))
    legacy.load("gelu-1l", HOOK, CPU)
    monkeypatch.setattr(bridges, "boot_one_layer", None)
    legacy.load("gelu-1l", HOOK, CPU)
    with pytest.raises(TypeError):
        legacy.load("gelu-1l", HOOK, CPU, centred=False)


def test_a_direct_forward_that_differs_from_transformer_lens_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    config = legacy_config(d_vocab=300)
    add_legacy_model(cache, "NeelNanda/GELU_1L512W_C4_Code", config, legacy_state(config))
    monkeypatch.setattr(legacy, "compatibility_form", lambda model: model)  # what a raw bridge would give
    with pytest.raises(UserError, match="differ by"):
        legacy.load("gelu-1l", HOOK, CPU)


def test_other_hook_points_of_gelu_1l_go_through_the_bridge(cache: Path):
    config = legacy_config(d_vocab=300)
    add_legacy_model(cache, "NeelNanda/GELU_1L512W_C4_Code", config, legacy_state(config))
    lm = legacy.load("gelu-1l", "blocks.0.mlp.hook_post", CPU)
    assert lm.d_in == 64
    direct = legacy.load("gelu-1l", HOOK, CPU)
    assert relative(losses(lm, tokens()), losses(direct, tokens())) < 1e-5


def test_a_deeper_legacy_model_without_network(cache: Path):
    config = legacy_config(d_vocab=300, n_layers=2)
    add_legacy_model(cache, "NeelNanda/GELU_2L512W_C4_Code", config, legacy_state(config))
    lm = legacy.load("NeelNanda/GELU_2L512W_C4_Code", "blocks.1.hook_mlp_out", CPU)
    assert lm.activations(tokens()).shape == (3, 20, 32)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda s: s.pop("blocks.0.mlp.W_in"), "lack W_in"),
        (lambda s: s.update({"unembed.W_U": torch.zeros(32, 7)}), r"W_U has shape \[32, 7\]"),
    ],
)
def test_a_checkpoint_that_does_not_fit_its_configuration(cache: Path, change, line: str):
    config = legacy_config(d_vocab=300)
    state = legacy_state(config)
    change(state)
    add_legacy_model(cache, "NeelNanda/GELU_1L512W_C4_Code", config, state)
    with pytest.raises(UserError, match=line):
        legacy.load("gelu-1l", HOOK, CPU)


def test_a_torn_checkpoint(cache: Path):
    config = legacy_config(d_vocab=300)
    snapshot = add_legacy_model(cache, "NeelNanda/GELU_1L512W_C4_Code", config, legacy_state(config))
    weights = (snapshot / "model_final.pth").resolve()
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        legacy.load("gelu-1l", HOOK, CPU)


def test_gelu_1l_with_an_empty_cache(cache: Path):
    with pytest.raises(UserError, match=r"hf download NeelNanda/GELU_1L512W_C4_Code"):
        legacy.load("gelu-1l", HOOK, CPU)


def test_the_forward_stops_at_the_hook_point(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    """Also in the last block, where TransformerLens's stop_at_layer goes on to the unembedding."""
    lm = two_layers(tokenizer, "blocks.1.hook_mlp_out")
    reached = []
    with lm.bridge.hooks(fwd_hooks=[("unembed.hook_in", lambda x, hook: reached.append(1))]):
        lm.activations(tokens(seq=20))
        assert not reached
        losses(lm, tokens(seq=20))
        assert reached


def test_the_forward_of_a_one_layer_model_stops_at_the_hook_point(tokenizer: Tokenizer):
    """There ``stop_at_layer=1`` names a block that does not exist, and stops nothing."""
    lm = BridgeModel(
        bridges.boot_one_layer(one_layer(tokenizer), CPU, process=False), tokenizer, "tiny", HOOK, CPU
    )
    reached = []
    with lm.bridge.hooks(fwd_hooks=[("unembed.hook_in", lambda x, hook: reached.append(1))]):
        lm.activations(tokens(seq=20))
        assert not reached
        losses(lm, tokens(seq=20))
        assert reached


@pytest.mark.parametrize("name", embedded.WORLDS)
def test_what_ships_is_read_as_transformer_lens_reads_it(name: str):
    """On text of its own, by the forward that every command uses and by TransformerLens' hook."""
    lm = load_lm(Setup(model=name, device="cpu"))
    assert isinstance(lm, DirectModel)
    ids = [lm.tokenizer.encode(text, bos=True) for text in embedded.world(name).prompts]
    ids = torch.tensor([one[: min(map(len, ids))] for one in ids])
    bridge = bridges.boot_one_layer(OneLayer.load(embedded.world(name).lm), CPU, process=False)
    assert relative(lm.activations(ids), bridges.activations_at(bridge, HOOK, ids)) < 1e-5


@pytest.mark.parametrize(
    ("hook_name", "d_in"),
    [("blocks.0.hook_resid_pre", 32), ("blocks.1.attn.hook_z", 32), ("blocks.0.mlp.hook_post", 64)],
)
def test_any_hook_point(tokenizer: Tokenizer, hook_name: str, d_in: int):
    lm = two_layers(tokenizer, hook_name)
    x = lm.activations(tokens())
    assert x.shape == (3, 20, d_in) and x.dtype == torch.float32 and lm.d_in == d_in
    _, cache = lm.bridge.run_with_cache(tokens())
    torch.testing.assert_close(x, cache[hook_name].flatten(2))


def test_losses_with_the_activations_replaced(tokenizer: Tokenizer):
    lm = two_layers(tokenizer, "blocks.1.attn.hook_z")
    plain = losses(lm, tokens())
    logits = lm.bridge(tokens())[:, :-1].log_softmax(-1)
    expected = -logits.gather(-1, tokens()[:, 1:, None])[..., 0]
    torch.testing.assert_close(plain, expected)
    torch.testing.assert_close(losses(lm, tokens(), lambda x: x), plain)
    zeroed = losses(lm, tokens(), torch.zeros_like)
    hooks = [("blocks.1.attn.hook_z", lambda x, hook: torch.zeros_like(x))]
    logits = lm.bridge.run_with_hooks(tokens(), fwd_hooks=hooks)[:, :-1].log_softmax(-1)
    torch.testing.assert_close(zeroed, -logits.gather(-1, tokens()[:, 1:, None])[..., 0])
    assert not torch.allclose(zeroed, plain)


def test_losses_in_parts_are_the_losses(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    lm = two_layers(tokenizer, "blocks.1.hook_mlp_out")
    at_once = losses(lm, tokens(rows=5), torch.zeros_like)
    monkeypatch.setattr("saetui.lm.loss.LOGITS_AT_ONCE", 2 * 20 * tokenizer.d_vocab)
    torch.testing.assert_close(losses(lm, tokens(rows=5), torch.zeros_like), at_once)


def test_losses_over_a_large_vocabulary_are_as_good_as_fp32_allows():
    logits = 6 * torch.randn(3, 20, 4096, generator=torch.Generator().manual_seed(0))
    actual = torch.arange(60).reshape(3, 20) * 67
    found = next_token_losses(actual, 4096, lambda part: logits[part], CPU)
    exact = -logits[:, :-1].double().log_softmax(-1).gather(-1, actual[:, 1:, None])[..., 0]
    assert float((found - exact).abs().max() / exact.abs().max()) < 2e-7


@pytest.mark.parametrize(
    ("hook_name", "line"),
    [
        ("blocks.0.hook_mlp_outt", "near are blocks.0.hook_mlp_out"),
        ("blocks.9.hook_mlp_out", "no hook point 'blocks.9.hook_mlp_out'"),
        ("blocks.0.attn.hook_pattern", "one vector for each token"),
        ("blocks.0.hook_mlp_in", "use_hook_mlp_in"),
    ],
)
def test_hook_points_that_cannot_be_read(tokenizer: Tokenizer, hook_name: str, line: str):
    with pytest.raises(UsageError, match=line) as caught:
        two_layers(tokenizer, hook_name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (torch.zeros(1, 33, dtype=torch.long), "33 tokens, but the model takes at most 32"),
        (torch.full((1, 4), 300), "token 300 is not in the model's vocabulary of 300"),
        (torch.zeros(4, dtype=torch.long), r"\[rows, seq\]"),
    ],
)
def test_tokens_that_do_not_fit(tokenizer: Tokenizer, bad: torch.Tensor, line: str):
    with pytest.raises(UsageError, match=line):
        two_layers(tokenizer, HOOK).activations(bad)


def test_a_local_folder_in_hugging_face_format(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """What transformers saves, booted in compatibility mode, with its own tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=300, n_positions=64, n_embd=16, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=small_tokenizer(), bos_token="<|BOS|>", eos_token="<|EOS|>"
    )
    fast.save_pretrained(tmp_path / "gpt")
    capfd.readouterr()
    bridge = bridges.boot(str(tmp_path / "gpt"), CPU)
    assert capfd.readouterr() == ("", "")
    lm = BridgeModel(bridge, bridges.tokenizer_of(bridge, "gpt"), "gpt", "blocks.0.hook_mlp_out", CPU)
    x = lm.activations(tokens())
    assert x.shape == (3, 20, 16) and x.mean(-1).abs().max() < 1e-5
    assert lm.tokenizer.bos_token_id == 1 and lm.tokenizer.d_vocab == 300
    assert lm.W_U.shape == (16, 300) and lm.W_U.mean(-1).abs().max() < 1e-5
    weights = tmp_path / "gpt" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot load") as caught:
        bridges.boot(str(tmp_path / "gpt"), CPU)
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_exist():
    with pytest.raises(UserError, match="cannot load") as caught:
        bridges.boot("nobody/nothing", CPU)
    assert "\n" not in str(caught.value)


def test_load_lm_takes_the_weights_that_the_sae_was_trained_on(cache: Path, tmp_path: Path):
    """SAELens writes down that its models are not centred; Neel Nanda's files are of centred ones."""
    config = legacy_config(d_vocab=300)
    add_legacy_model(cache, "NeelNanda/GELU_1L512W_C4_Code", config, legacy_state(config))
    sae = SAE(torch.eye(32), torch.zeros(32), torch.eye(32), torch.zeros(32))
    for centred in (True, False):
        extra = {"model_from_pretrained_kwargs": {"center_writing_weights": centred}}
        metadata = SAEMetadata(model_name="gelu-1l", hook_name=HOOK, extra=extra)
        save_saelens(replace(sae, metadata=metadata), tmp_path / str(centred))
        lm = load_lm(Setup(sae=str(tmp_path / str(centred)), device="cpu"))
        assert (lm.name, lm.hook_name) == ("gelu-1l", HOOK)
        mean = lm.activations(tokens()).mean(-1).abs().max()
        assert mean < 1e-6 if centred else mean > 0.1


def test_other_hook_points_of_a_shipped_kind_of_model(tmp_path: Path):
    """Its weights are in the processed form already: the bridge reads them as they are."""
    config = OneLayerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32, n_ctx=64, d_vocab=300)
    weights = {name: torch.randn(shape) * 0.3 for name, shape in config.shapes().items()}
    model = compatibility_form(OneLayer(config, weights))
    model.save(tmp_path, dtype=torch.float32)
    Tokenizer(small_tokenizer()).save(tmp_path / "tokenizer.json")
    lm = load_lm(Setup(model=str(tmp_path), hook_name="blocks.0.hook_resid_mid", device="cpu"))
    assert isinstance(lm, BridgeModel)
    assert relative(lm.activations(tokens()), model.resid_mid(tokens())) < 1e-5
    assert relative(losses(lm, tokens()), losses(DirectModel(model, lm.tokenizer, "x"), tokens())) < 1e-5


def test_a_short_name_that_only_transformer_lens_knows(cache: Path):
    config = legacy_config(d_vocab=300, n_layers=2)
    add_legacy_model(cache, "NeelNanda/GELU_2L512W_C4_Code", config, legacy_state(config))
    lm = load_lm(Setup(model="gelu-2l", hook_name="blocks.1.hook_mlp_out", device="cpu"))
    assert lm.name == "gelu-2l" and lm.d_in == 32
