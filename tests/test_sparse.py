"""The sparse path's operators against the whole product and fp64, screened and compiled."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from saetui.split.training import sparse
from saetui.split.training.screen import integer_products, quantise, screening_speedup
from saetui.split.training.sparse import (
    ActivePairs,
    Reconstruction,
    SparseEngine,
    TorchOperators,
    choose_sparse_engine,
    product_pairs,
    sparse_operators,
)
from saetui.split.training.step import TrainStep
from tests.split_support import random_sae, relative

if sparse.has_numba():
    import saetui.split.training.compiled  # noqa: F401  # here, so that loops are kept in the user's own cache

TOKENS, D_IN, D_SAE = 301, 40, 333
"""None a multiple of what loops take at a time."""
SCREENED = SparseEngine(screened=True)
COMPILED = SparseEngine(compiled=True)
BOTH = SparseEngine(screened=True, compiled=True)


@pytest.fixture(params=[SCREENED, COMPILED, BOTH], ids=["screened", "compiled", "both"])
def engine(request: pytest.FixtureRequest) -> SparseEngine:
    if request.param.compiled:
        pytest.importorskip("numba")
    return request.param


def batch(bias: float = -1.6, outlier: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(TOKENS, D_IN, generator=generator)
    x[:, 3] *= outlier
    x[5] = 0
    x[6] *= 1e-30
    W_encT = torch.randn(D_SAE, D_IN, generator=generator) / D_IN**0.5
    W_encT[9] = 0
    return x, W_encT, torch.full((D_SAE,), bias) + 0.1 * torch.randn(D_SAE, generator=generator)


def tokens_of(pairs: ActivePairs) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(pairs.first) - 1), pairs.first.diff().long())


@pytest.mark.parametrize("outlier", [1.0, 40.0])
def test_the_active_pairs_are_those_of_the_whole_product(engine: SparseEngine, outlier: float) -> None:
    x, W_encT, b_enc = batch(outlier=outlier)
    silent = 17
    found = sparse_operators(engine).active(x, W_encT, b_enc, silent)
    exact = x.double() @ W_encT.double().T + b_enc.double()
    exact[:, silent] = -1
    assert 0.01 < float((exact > 0).double().mean()) < 0.4
    # Up to what fp32 itself may get wrong.
    certain = exact.abs() > 1e-6 * (x.norm(dim=1)[:, None] * W_encT.norm(dim=1) + 1)
    mask = torch.zeros(exact.shape, dtype=torch.bool)
    mask[tokens_of(found), found.features.long()] = True
    assert torch.equal(mask & certain, (exact > 0) & certain)
    assert relative(found.activations, exact[tokens_of(found), found.features.long()].float()) < 1e-6
    ascending = tokens_of(found) * D_SAE + found.features
    assert (ascending.diff() > 0).all()


def test_no_rounded_product_is_farther_off_than_its_bound() -> None:
    x, W_encT, _ = batch(outlier=15.0)
    a, b = quantise(x), quantise(W_encT)
    products = integer_products(a.low, b.low, torch.empty(TOKENS, D_SAE, dtype=torch.int32))
    assert torch.equal(products.double(), a.low.double() @ b.low.double().T)
    rounded = products.double() * a.scale.double()[:, None] * b.scale.double()
    bound = a.error[:, None] * b.norm + a.norm[:, None] * b.error
    off = (x.double() @ W_encT.double().T - rounded).abs()
    assert (off <= bound).all()
    assert float((off / bound.clamp_min(1e-30)).max()) > 0.2  # no wider than it need be


@pytest.mark.parametrize("norm", ["unit", "free"])
def test_a_step_is_that_of_the_dense_path(engine: SparseEngine, norm: Any) -> None:
    sae = random_sae(D_IN, D_SAE, -0.4)
    sae = replace(sae, W_dec=sae.W_dec * 1.3)
    x, y = (torch.randn(TOKENS, D_IN, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    steps = []
    for given in (None, engine):
        step = TrainStep(
            sae, batch_size=TOKENS, decoder_norm=norm, silent=4, operators=sparse_operators(given)
        )
        step.sparse = given is not None
        stats = step.gradients(x, y, 0.3)
        steps.append([stats.squared_error, stats.l1, stats.firings, *step.grads.values()])
    for dense, ours in zip(*steps, strict=True):
        assert relative(ours, dense) < 1e-5


def test_the_number_of_threads_does_not_change_a_bit(engine: SparseEngine) -> None:
    x, W_encT, b_enc = batch()
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            operators = sparse_operators(engine)
            pairs = operators.active(x, W_encT, b_enc, None)
            if not engine.compiled:
                continue
            grads = {"W_dec": W_encT.clone(), "W_encT": W_encT.clone(), "b_enc": b_enc.clone()}
            of = Reconstruction(x, x, W_encT, x[0], 0.1, b_enc.abs())
            sums = operators.gradients(pairs, of, torch.empty_like(x), grads)
            found.append([pairs.features, pairs.activations, sums.squared_error, *grads.values()])
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*found, strict=True) if found else ():
        assert torch.equal(one, two)


def test_a_screen_that_lets_too_much_through_turns_itself_off(engine: SparseEngine) -> None:
    if not engine.screened:
        pytest.skip("about screens")
    x, W_encT, b_enc = batch()
    operators = sparse_operators(engine)
    operators.active(x, W_encT, b_enc, None)
    assert operators.screened
    # One input so much larger than all others that these round to nothing.
    x[:, 3] *= 1e4
    W_encT[:, 3] *= 1e-4
    found = operators.active(x, W_encT, b_enc, None)
    assert not operators.screened
    expected = product_pairs(x, W_encT, b_enc, None)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(operators.active(x, W_encT, b_enc, None).features, expected.features)


def test_nothing_is_screened_where_many_features_are_expected(
    engine: SparseEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, W_encT, b_enc = batch()
    operators = sparse_operators(engine)
    monkeypatch.setattr(operators, "_screen", None)
    found = operators.active(x, W_encT, b_enc, None, share=operators.screen_below)
    assert torch.equal(found.features, product_pairs(x, W_encT, b_enc, None).features)
    assert operators.screened == engine.screened  # it is, again, once fewer fire


def test_a_batch_on_which_nothing_is_active(engine: SparseEngine) -> None:
    x, W_encT, b_enc = batch(bias=-100.0)
    operators = sparse_operators(engine)
    pairs = operators.active(x, W_encT, b_enc, None)
    assert len(pairs.features) == 0 and not pairs.first.any()
    grads = {"W_dec": W_encT.clone(), "W_encT": W_encT.clone(), "b_enc": b_enc.clone()}
    of = Reconstruction(x, x, W_encT, x[0], 0.1, b_enc)
    sums = operators.gradients(pairs, of, torch.empty_like(x), grads)
    assert not any(grad.any() for grad in grads.values())
    assert float(sums.squared_error) == pytest.approx(float((x[0] - x).square().sum()), rel=1e-5)


def test_the_choice_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_sparse_engine(8, 32) == (SparseEngine(), "sparse steps: torch's operators (a small SAE)")
    monkeypatch.setattr(sparse, "has_numba", lambda: False)
    for speedup, screened in ((3.0, True), (1.1, False)):
        monkeypatch.setattr(sparse, "screening_speedup", lambda *sizes, speedup=speedup: speedup)
        engine, line = choose_sparse_engine(512, 4096)
        assert engine == SparseEngine(screened=screened)
        assert "saetui[fast]" in line and f"{speedup:.1f}×" in line
    assert isinstance(sparse_operators(BOTH), TorchOperators)  # Numba has gone since
    assert screening_speedup(64, 256) >= 0
