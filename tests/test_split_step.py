"""The hand-written step against autograd, in double precision and over several steps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from saetui.sae.sae import SAE
from saetui.split.recipe import DecoderNorm, Loss, Reduction, SplitRecipe
from saetui.split.training.loss import sae_loss, silent_feature, training_target
from saetui.split.training.matmul import Matmul, choose_matmul, settled_matmul
from saetui.split.training.sparse import SparseEngine, sparse_operators
from saetui.split.training.step import TrainStep
from tests.split_support import random_sae, relative

D_IN, D_SAE, BATCH = 48, 256, 192
TARGET = 3

AXES = pytest.mark.parametrize(
    ("loss", "reduction", "norm"),
    [
        (loss, reduction, norm)
        for loss in get_args(Loss)
        for reduction in get_args(Reduction)
        for norm in get_args(DecoderNorm)
    ],
)


def case(loss: Loss, reduction: Reduction, norm: DecoderNorm, bias: float = -0.4) -> dict[str, Any]:
    recipe = SplitRecipe(
        target=TARGET,
        d_sae=D_SAE,
        init="random" if loss == "residual" else "narrow",
        loss=loss,
        l1_reduction=reduction,
        decoder_norm=norm,
    )
    sae = random_sae(D_IN, D_SAE, bias)
    if norm == "free":
        scales = torch.rand(D_SAE, 1, generator=torch.Generator().manual_seed(5)) + 0.5
        sae = replace(sae, W_dec=sae.W_dec * scales)
    x = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(1))
    y = training_target(recipe, x, random_sae(D_IN, 8, 0.0, seed=2))
    l1_coeff = 0.3 if reduction == "mean" else 0.3 / BATCH
    return {"recipe": recipe, "sae": sae, "x": x, "y": y, "l1_coeff": l1_coeff}


def step_of(recipe: SplitRecipe, sae: SAE, dtype: Any = "float32") -> TrainStep:
    return TrainStep(
        sae,
        batch_size=BATCH,
        l1_reduction=recipe.l1_reduction,
        decoder_norm=recipe.decoder_norm,
        silent=silent_feature(recipe),
        dtype=dtype,
    )


def oracle(
    recipe: SplitRecipe, sae: SAE, x: Tensor, y: Tensor, l1_coeff: float
) -> tuple[dict[str, Tensor], float, float]:
    """Gradients, mse and l1 in fp64 by autograd; for unit norms the decoder's without its parallel part."""
    sae = sae.to(dtype=torch.float64)
    weights = {name: getattr(sae, name).requires_grad_() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    parts = sae_loss(sae, x.double(), y.double(), l1_coeff, recipe)
    parts.total.backward()
    grads = {name: weight.grad for name, weight in weights.items()}
    if recipe.decoder_norm == "unit":
        unit = sae.W_dec.detach() / sae.W_dec.detach().norm(dim=1, keepdim=True)
        grads["W_dec"] = grads["W_dec"] - (grads["W_dec"] * unit).sum(1, keepdim=True) * unit
    grads["W_encT"] = grads.pop("W_enc").T
    return grads, float(parts.mse.detach()), float(parts.l1.detach())


@AXES
@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_are_autograds(loss: Loss, reduction: Reduction, norm: DecoderNorm, sparse: bool) -> None:
    given = case(loss, reduction, norm)
    grads, mse, l1 = oracle(**given)
    step = step_of(given["recipe"], given["sae"])
    step.sparse = sparse
    stats = step.gradients(given["x"], given["y"], given["l1_coeff"])
    for name, grad in grads.items():
        assert relative(step.grads[name], grad) < 1e-5, name
    assert float(stats.squared_error) / BATCH == pytest.approx(mse, rel=1e-5)
    assert float(stats.l1) / (BATCH if reduction == "mean" else 1) == pytest.approx(l1, rel=1e-5)


@AXES
def test_bfloat16_gradients_are_within_a_hundredth(
    loss: Loss, reduction: Reduction, norm: DecoderNorm
) -> None:
    # An SAE that knows its data: rounding is measured here, not which of many features near zero are on.
    given = case(loss, reduction, norm)
    generator = torch.Generator().manual_seed(3)
    dictionary = torch.linalg.qr(torch.randn(D_IN, D_IN, generator=generator)).Q.repeat(6, 1)[:D_SAE]
    given["sae"] = SAE(dictionary.T, torch.full((D_SAE,), -0.5), dictionary, torch.zeros(D_IN))
    given["x"] = (torch.rand(BATCH, D_IN, generator=generator) * 5 - 3).relu() @ dictionary[:D_IN]
    given["y"] = training_target(given["recipe"], given["x"], random_sae(D_IN, 8, 0.0, seed=2))
    grads, _, _ = oracle(**given)
    step = step_of(given["recipe"], given["sae"], "bfloat16")
    step.gradients(given["x"], given["y"], given["l1_coeff"])
    for name, grad in grads.items():
        assert relative(step.grads[name], grad) < 1e-2, name


@AXES
def test_six_steps_are_those_of_autograd_and_adam(
    loss: Loss, reduction: Reduction, norm: DecoderNorm
) -> None:
    given = case(loss, reduction, norm)
    recipe = given["recipe"]
    step = step_of(recipe, given["sae"])
    sae = given["sae"].to()
    weights = [getattr(sae, name).clone().requires_grad_() for name in ("W_enc", "b_enc", "W_dec", "b_dec")]
    adam = torch.optim.Adam(weights, lr=2e-3, betas=(0.9, 0.99))
    for number in range(6):
        x = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(10 + number))
        y = training_target(recipe, x, random_sae(D_IN, 8, 0.0, seed=2))
        step(x, y, lr=2e-3, l1_coeff=given["l1_coeff"])
        adam.zero_grad()
        sae_loss(SAE(*weights), x, y, given["l1_coeff"], recipe).total.backward()
        with torch.no_grad():
            W_dec = weights[2]
            if norm == "unit":
                assert W_dec.grad is not None
                W_dec.grad -= (W_dec.grad * W_dec).sum(1, keepdim=True) * W_dec
            adam.step()
            if norm == "unit":
                W_dec /= W_dec.norm(dim=1, keepdim=True)
    ended = step.sae()
    for name, weight in zip(("W_enc", "b_enc", "W_dec", "b_dec"), weights, strict=True):
        assert relative(getattr(ended, name), weight.detach()) < 2e-5, name


def test_the_target_set_to_zero_keeps_its_weights() -> None:
    given = case("target_zeroed", "mean", "unit")
    step = step_of(given["recipe"], given["sae"])
    before = step.sae()
    for _ in range(3):
        step(given["x"], given["y"], lr=1e-2, l1_coeff=given["l1_coeff"])
    after = step.sae()
    assert torch.equal(after.W_enc[:, TARGET], before.W_enc[:, TARGET])
    assert after.b_enc[TARGET] == before.b_enc[TARGET]
    assert torch.allclose(after.W_dec[TARGET], before.W_dec[TARGET], atol=1e-7)
    assert not torch.equal(after.W_enc, before.W_enc)


def test_saved_decoder_rows_have_norm_one() -> None:
    given = case("standard", "mean", "unit")
    step = step_of(given["recipe"], replace(given["sae"], W_dec=given["sae"].W_dec * 1.4))
    step(given["x"], given["y"], lr=1e-2, l1_coeff=0.3)
    assert torch.allclose(step.sae().W_dec.norm(dim=1), torch.ones(D_SAE), atol=3e-7, rtol=0)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_sparse_path_is_taken_when_few_features_fire_and_left_when_many_do(compiled: bool) -> None:
    if compiled:
        pytest.importorskip("numba")
    x = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(1))
    operators = sparse_operators(SparseEngine(compiled=compiled))
    crossover = operators.crossover["float32"]

    def step_with_share(share: float, sparse: bool) -> TrainStep:
        sae = random_sae(D_IN, D_SAE, 0.0)
        pre = (x - sae.b_dec) @ sae.W_enc + sae.b_enc
        sae = replace(sae, b_enc=sae.b_enc - pre.flatten().quantile(1 - share))
        step = TrainStep(sae, batch_size=BATCH, operators=operators)
        step.sparse = sparse
        step.gradients(x, x, 0.1)
        assert step.share == pytest.approx(share, abs=0.01)
        return step

    between = (crossover.below + crossover.above) / 2
    assert step_with_share(0.02, sparse=False).sparse
    assert not step_with_share(0.3, sparse=True).sparse
    assert step_with_share(between, sparse=True).sparse
    assert not step_with_share(between, sparse=False).sparse


def test_the_choice_of_a_matmul_engine_is_exact() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]
    x, W = torch.randn(64, 32), torch.randn(32, 128)
    exact = (x.double() @ W.double()).float()
    try:
        found = choose_matmul(64, 32, 128)
        assert relative(x @ W, exact) < 1e-6
        assert found.engine == "default" or (found.error < 1e-6 and found.speedup > 1)
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before  # pyright: ignore[reportAttributeAccessIssue]


def test_the_choice_stays_whatever_the_clock_says_later(
    isolated_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]
    measured: list[int] = []

    def choose(rows: int, d_in: int, d_sae: int) -> Matmul:
        measured.append(d_in)
        return Matmul("onednn" if len(measured) == 1 else "default", 0.0, 1.1)

    monkeypatch.setattr("saetui.split.training.matmul.choose_matmul", choose)
    try:
        assert [settled_matmul(64, 32, d_sae).engine for d_sae in (128, 32)] == ["onednn", "onednn"]
        assert settled_matmul(64, 48, 128).engine == "default" and measured == [32, 48]
        (isolated_places / "cache" / "matmul.json").write_text("[1")
        assert settled_matmul(64, 32, 128).engine == "default"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("here", "elsewhere"), [(True, True), (True, False), (False, True)])
def test_of_several_processes_all_screen_or_none(here: bool, elsewhere: bool) -> None:
    one = case("standard", "mean", "unit")
    sums: list[Tensor] = []

    def add_other(summed: Tensor) -> None:
        summed.add_(sums[0])

    def step(screened: bool, add_up: Callable[[Tensor], None]) -> TrainStep:
        made = TrainStep(
            one["sae"],
            batch_size=2 * BATCH,
            rows=BATCH,
            add_up=add_up,
            operators=sparse_operators(SparseEngine(screened=screened)),
        )
        made.gradients(one["x"], one["y"], one["l1_coeff"])
        return made

    step(elsewhere, lambda summed: sums.append(summed.clone()))
    assert step(here, add_other).operators.screened == (here and elsewhere)


def test_a_batch_on_which_nothing_fires() -> None:
    sae = replace(random_sae(D_IN, D_SAE, 0.0), b_enc=torch.full((D_SAE,), -100.0))
    x = torch.randn(BATCH, D_IN)
    for sparse in (False, True):
        step = TrainStep(sae, batch_size=BATCH)
        step.sparse = sparse
        stats = step.gradients(x, x, 0.1)
        assert stats.firings.sum() == 0
        assert float(step.grads["W_dec"].abs().max()) == float(step.grads["W_encT"].abs().max()) == 0
        expected = 2 * (sae.b_dec - x).mean(0)
        assert torch.allclose(step.grads["b_dec"], expected, atol=1e-6)
