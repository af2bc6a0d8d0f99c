"""The direct forward: the numbers that TransformerLens computes, in both of its conventions."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saetui.errors import UserError
from saetui.lm.bridge import activations_at, boot_one_layer
from saetui.lm.one_layer import OneLayer, OneLayerConfig, compatibility_form

CONFIG = OneLayerConfig(d_model=24, n_heads=3, d_head=8, d_mlp=40, n_ctx=10, d_vocab=50)
HOOK = "blocks.0.hook_mlp_out"


@pytest.fixture(scope="module")
def model() -> OneLayer:
    """Random weights everywhere, norms and biases included, so that nothing passes by being 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    return OneLayer(
        CONFIG,
        {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in CONFIG.shapes().items()},
    )


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(0, CONFIG.d_vocab, (7, CONFIG.n_ctx), generator=torch.Generator().manual_seed(1))


def relative(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(((x - y).norm() / y.norm()).detach())


def test_activations_and_logits_are_transformer_lens_s(model: OneLayer, tokens: torch.Tensor):
    bridge = boot_one_layer(model, "cpu", process=False)
    assert relative(model.mlp_out(tokens), activations_at(bridge, HOOK, tokens)) < 1e-5
    assert relative(model.logits(tokens), bridge(tokens)) < 1e-5


def test_in_compatibility_form_processing_by_transformer_lens_changes_nothing(
    model: OneLayer, tokens: torch.Tensor
):
    form = compatibility_form(model)
    for process in (False, True):
        bridge = boot_one_layer(form, "cpu", process=process)
        assert relative(form.mlp_out(tokens), activations_at(bridge, HOOK, tokens)) < 1e-5
    processed = boot_one_layer(model, "cpu", process=True)
    assert relative(form.mlp_out(tokens), activations_at(processed, HOOK, tokens)) < 1e-5


def test_compatibility_form_is_the_same_function_of_the_tokens(model: OneLayer, tokens: torch.Tensor):
    form = compatibility_form(model)
    assert (form.logits(tokens).log_softmax(-1) - model.logits(tokens).log_softmax(-1)).abs().max() < 1e-4
    assert form.mlp_out(tokens).mean(-1).abs().max() < 1e-5
    centred = model.mlp_out(tokens) - model.mlp_out(tokens).mean(-1, keepdim=True)
    assert relative(form.mlp_out(tokens), centred) < 1e-5
    assert form.weights["W_U"].mean(-1).abs().max() < 1e-6
    twice = compatibility_form(form)
    assert all(relative(twice.weights[name] + 1, weight + 1) < 1e-6 for name, weight in form.weights.items())


def test_a_patched_mlp_output_goes_on_to_the_logits(model: OneLayer, tokens: torch.Tensor):
    resid_mid = model.resid_mid(tokens)
    assert torch.equal(model.unembed(resid_mid + model.mlp(resid_mid)), model.logits(tokens))
    assert not torch.allclose(model.unembed(resid_mid), model.logits(tokens))


def test_attention_is_causal_and_rows_may_be_short(model: OneLayer, tokens: torch.Tensor):
    changed = tokens.clone()
    changed[:, 5:] = 0
    assert torch.allclose(model.mlp_out(changed)[:, :5], model.mlp_out(tokens)[:, :5], atol=1e-5)
    assert torch.allclose(model.mlp_out(tokens[:, :5].int()), model.mlp_out(tokens)[:, :5], atol=1e-5)


def test_saved_and_loaded_it_is_the_same_model(model: OneLayer, tokens: torch.Tensor, tmp_path: Path):
    model.save(tmp_path)
    assert load_file(tmp_path / "model.safetensors")["W_E"].dtype == torch.float16
    loaded = OneLayer.load(tmp_path)
    assert loaded.config == CONFIG and loaded.weights["W_E"].dtype == torch.float32
    assert relative(loaded.mlp_out(tokens), model.mlp_out(tokens)) < 2e-3
    model.save(tmp_path, torch.float32)
    assert torch.equal(OneLayer.load(tmp_path).mlp_out(tokens), model.mlp_out(tokens))
    assert model.to(dtype=torch.float64).mlp_out(tokens).dtype == torch.float64


def test_what_does_not_fit_is_said_in_one_line(model: OneLayer, tmp_path: Path):
    with pytest.raises(UserError, match="no one-layer language model in"):
        OneLayer.load(tmp_path)
    with pytest.raises(UserError, match="lack W_O"):
        OneLayer(CONFIG, {name: weight for name, weight in model.weights.items() if name != "W_O"})
    with pytest.raises(UserError, match=r"W_O has shape \[2\]"):
        OneLayer(CONFIG, {**model.weights, "W_O": torch.zeros(2)})
    model.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"d_model": 24}))
    with pytest.raises(UserError, match="lacks 'n_heads'"):
        OneLayer.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="no one-layer language model in"):
        OneLayer.load(tmp_path)
