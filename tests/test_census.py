"""The census: against the labels of the synthetic world, constructed splits, and an uninterrupted run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from saetui.census import census as taking
from saetui.census.agreement import agreement, agreements, hits, spearman
from saetui.census.census import rank, take_census
from saetui.census.evidence import bimodality, context_share
from saetui.census.measure import choose_children, measured
from saetui.census.results import Census, CensusProgress, CensusRecipe, Evidence, FeatureCensus, Hits
from saetui.census.tokens import Neighbourhood, percentiles, sample_hot
from saetui.corpus.grammar import SyntheticRows
from saetui.errors import UserError
from saetui.features.index import FeatureIndex
from saetui.features.row_store import RowStore
from saetui.loading import load_lm, load_sae
from saetui.setup import Setup
from saetui.split.grafting.graft import graft, hot_residual
from saetui.split.grafting.graft_run import measure
from saetui.split.recipe import GraftRecipe
from tests.test_graft import CONTEXTS, TARGET, bundled
from tests.tiny import TinyLM, TinyRows, tiny_sae

HYPHEN = 49
"""The synthetic world's target."""
SMALL = CensusRecipe(
    tokens=150_000, hot_tokens=1024, held_out_tokens=1024, fewest=100, children=(2, 4, 8), l1_coeff=5.0
)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Census, FeatureIndex]:
    setup = Setup("synthetic", device="cpu")
    store = RowStore(load_lm(setup), SyntheticRows("train"), tmp_path_factory.mktemp("synthetic"))
    index = FeatureIndex(store, load_sae(setup))
    index.build(SMALL.tokens)
    return take_census(load_sae(setup), index, SMALL), index


def test_the_target_ranks_where_the_labels_say(synthetic: tuple[Census, FeatureIndex]) -> None:
    census, index = synthetic
    first, second = census.features[:2]
    assert (first.feature, first.split_by, first.side) == (HYPHEN, "context", "previous")
    places = sample_hot(index, SMALL).held_out_places(HYPHEN).numpy()
    rows, positions = np.divmod(places, index.store.seq_len)
    labels = SyntheticRows("train").labels(0, int(rows.max()) + 1)[rows, positions]
    assert (labels >= 0).all()
    shares = np.bincount(labels) / len(labels)
    truth = float(np.exp(-(shares * np.log(shares)).sum()))  # 3.9 kinds of hyphen, one token
    assert first.contexts == pytest.approx(truth, abs=0.8)
    assert first.by_token == 0 and first.holding == len(shares)
    # The other hyphen feature comes next; nothing else is split by its context.
    (commonest,) = [one.commonest for one in census.evidence if one.feature == second.feature]
    assert commonest == "-" and second.split_by == "context"
    assert {one.feature for one in census.features if one.split_by == "context"} <= {HYPHEN, second.feature}
    names = [one for one in census.features if one.split_by == "token"]
    assert len(names) > 20, "most features of a narrow SAE bundle tokens"


def test_what_was_expected_before_came_true(synthetic: tuple[Census, FeatureIndex]) -> None:
    census, index = synthetic
    assert [one.feature for one in census.evidence[:2]] == [one.feature for one in census.features[:2]]
    by = {one.by: one for one in census.agreement}
    assert by["context_share"].rho > 0.6 and by["context_share"].p_value < 0.001
    assert by["context_share"].rho == max(one.rho for one in census.agreement)
    assert rank(load_sae(Setup("synthetic")), index, SMALL) == census.evidence


def split_of(around: Callable[[np.ndarray, np.random.Generator], Neighbourhood]) -> FeatureCensus:
    """The census of a feature that bundles six contexts, ``around`` which the tokens are."""
    narrow, x, context = bundled()
    recipe = GraftRecipe(target=TARGET, threshold=3.0, children=8, steps=300, batch_size=256)
    _, y = hot_residual(narrow, x, recipe)
    found = around(context.numpy(), np.random.default_rng(0))
    return measured({8: graft(narrow, x, recipe)}, x, y, found, 0.1, CensusRecipe())


def test_a_split_by_token_is_told_from_one_by_context() -> None:
    def neighbourhood(**tokens: np.ndarray) -> Neighbourhood:
        n = len(next(iter(tokens.values())))
        constant = np.zeros(n, np.int64)
        usual = {"row": np.arange(n), "previous": constant, "current": constant, "next": constant}
        return Neighbourhood(**(usual | tokens))

    by_token = split_of(lambda context, rng: neighbourhood(current=context))
    assert by_token.split_by == "token" and by_token.by_context == pytest.approx(0, abs=0.01)
    # What the previous token tells, the token itself has told already.
    both = split_of(lambda context, rng: neighbourhood(current=context, previous=context))
    assert both.split_by == "token" and both.by_context == pytest.approx(0, abs=0.01)
    by_context = split_of(
        lambda context, rng: neighbourhood(next=context, current=rng.integers(3, size=3000))
    )
    assert (by_context.split_by, by_context.side) == ("context", "next")
    assert by_context.contexts == pytest.approx(CONTEXTS, rel=0.1)
    assert by_context.by_token == pytest.approx(0, abs=0.01)
    by_nothing = split_of(
        lambda context, rng: neighbourhood(
            current=rng.integers(3, size=3000), previous=rng.integers(50, size=3000)
        )
    )
    assert by_nothing.split_by == "neither" and by_nothing.effective > 4
    for one in (by_token, by_context):
        assert one.by_token + one.by_context <= one.entropy + 1e-9


@pytest.mark.parametrize(
    ("explained", "chosen"),
    [
        ({2: 0.005, 4: 0.01, 8: 0.02}, 1),
        ({2: 0.1, 4: 0.2, 8: 0.21}, 4),
        ({2: 0.1, 4: 0.05, 8: 0.5}, 8),
        ({2: -5.0, 4: 0.3, 8: 0.3}, 4),
    ],
)
def test_the_number_of_children_pays(explained: dict[int, float], chosen: int) -> None:
    assert choose_children(explained, 0.01) == chosen


def tiny_index(root: Path) -> FeatureIndex:
    index = FeatureIndex(RowStore(TinyLM(), TinyRows(1500), root), tiny_sae(bias=-1.0))
    index.build(10**9)
    return index


TINY = CensusRecipe(hot_tokens=300, held_out_tokens=150, fewest=50, children=(2, 4), steps=30, batch_size=64)


def test_a_sample_is_bounded_uniform_and_of_hot_tokens(tmp_path: Path) -> None:
    index = tiny_index(tmp_path)
    sample = sample_hot(index, TINY)
    sae = tiny_sae(bias=-1.0)
    x = index.store.activations(0, 1500, 1)
    f = sae.encode(x)
    for feature in (3, 7):
        firing = f[..., feature][f[..., feature] > 0]
        width = index.statistics.counts(feature).bin_width
        percentile = float(percentiles(index.statistics, 0.95)[feature])
        assert percentile == pytest.approx(float(firing.quantile(0.95)), abs=1.01 * width)
        hot = f[..., feature] > 0.3 * percentile
        assert sample.density(feature) == pytest.approx(float(hot.double().mean()))
        rows = hot.nonzero()[:, 0]
        train, held_out = sample.train_places(feature), sample.held_out_places(feature)
        assert len(train) == min(300, int((rows < 1125).sum())) and int(train.max()) // 12 < 1125
        assert len(held_out) == min(150, int((rows >= 1125).sum())) and int(held_out.min()) // 12 >= 1125
        assert (sae.encode_feature(sample.activations(train), feature) > 0.299 * percentile).all()
        assert abs(float((train // 12).double().mean()) - 562) < 75, "from all rows alike"
        around = sample.neighbourhood(held_out)
        tokens = TinyRows(1500).tokens.astype(int)
        row, position = int(held_out[0]) // 12, int(held_out[0]) % 12
        assert around.current[0] == tokens[row, position] and around.previous[0] == tokens[row, position - 1]
        assert around.next[0] == (tokens[row, position + 1] if position < 11 else -1)


def test_an_interrupted_census_goes_on_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = tiny_sae(bias=-1.0)
    whole = take_census(narrow, tiny_index(tmp_path / "whole"), TINY)
    # Seven groups of six; the third is interrupted in the middle.
    monkeypatch.setattr(taking, "POOL_BYTES", {"cpu": 6 * 2 * 4 * TINY.hot_tokens * narrow.d_in})
    index = tiny_index(tmp_path / "interrupted")

    def stop(now: CensusProgress) -> None:
        if now.stage == "grafting" and now.done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_census(narrow, index, TINY, stop)
    seen: list[CensusProgress] = []
    again = take_census(narrow, index, TINY, seen.append)
    grafting = [now for now in seen if now.stage == "grafting"]
    assert grafting[0].done == 12 and grafting[0].eta_s is None
    assert grafting[-1].done == 36 and grafting[-1].eta_s is not None
    assert [one.feature for one in again.features] == [one.feature for one in whole.features]
    for one, other in zip(again.features, whole.features, strict=True):
        assert one.children == other.children
        assert one.explained == pytest.approx(other.explained, abs=1e-3)
        assert one.by_context == pytest.approx(other.by_context, abs=0.02)
    # A finished one answers from its file; another recipe has its own.
    seen.clear()
    assert take_census(narrow, index, TINY, seen.append).features == again.features
    assert not [now for now in seen if now.stage == "grafting"]
    (file,) = index.folder.glob("census-*.json")
    file.write_text("torn")
    assert take_census(narrow, index, TINY).features == again.features


def test_rare_features_are_counted_not_grafted(tmp_path: Path) -> None:
    census = take_census(tiny_sae(bias=-1.0), tiny_index(tmp_path), TINY)
    dead = census.features[-1]
    assert (dead.split_by, dead.children, dead.held_out, dead.density) == ("rare", 0, 0, 0.0)
    assert len(census.features) == 40 and dead.feature not in {one.feature for one in census.evidence}


def test_without_stored_activations_it_says_why(tmp_path: Path) -> None:
    store = RowStore(TinyLM(), TinyRows(), tmp_path)
    with pytest.raises(UserError, match="no stored activations to take a census of"):
        take_census(tiny_sae(), FeatureIndex(store, tiny_sae()), TINY)


def test_context_share_of_known_errors() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    current, previous = rng.integers(3, size=n), rng.integers(5, size=n)
    around = Neighbourhood(np.arange(n), previous, current, rng.integers(20, size=n))
    noise = rng.normal(size=(n, 8))
    directions = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    of_token, of_context = directions[current], directions[3 + previous]
    assert context_share(noise, around, "previous") < 0.01
    assert context_share(of_token + 0.01 * noise, around, "previous") < 0.01
    # One direction per previous token: all but the mean over them, 1/5, is told by it.
    assert context_share(of_context, around, "previous") == pytest.approx(0.8, abs=0.01)
    assert context_share(of_context, around, "next") < 0.01
    # Σ|noise|² = 8 a token, 1 of the context's direction.
    assert context_share(of_context + noise, around, "previous") == pytest.approx(0.8 / 9, abs=0.02)
    never_twice = Neighbourhood(np.arange(n), np.arange(n), current, current)
    assert context_share(of_context, never_twice, "previous") == 0


def test_bimodality_of_known_shapes() -> None:
    rng = np.random.default_rng(0)
    assert bimodality(rng.normal(size=100_000)) == pytest.approx(1 / 3, abs=0.01)
    assert bimodality(rng.uniform(size=100_000)) == pytest.approx(5 / 9, abs=0.01)
    assert bimodality(rng.integers(2, size=1000).astype(float)) == pytest.approx(1, abs=0.01)
    assert bimodality(np.full(5, 3.0)) == 0


def test_agreement_of_known_orders() -> None:
    assert spearman(np.array([1.0, 2, 3]), np.array([10.0, 20, 15])) == pytest.approx(0.5)
    assert spearman(np.array([1.0, 1, 2]), np.array([1.0, 1, 5])) == pytest.approx(1)
    assert spearman(np.ones(4), np.arange(4.0)) == 0

    def pair(feature: int, expected: float, found: float) -> tuple[Evidence, FeatureCensus]:
        evidence = Evidence(feature, 9, 2.0, 0.1, expected, "next", 0.5, "a", 0.5, 0, 0.1, 0.5)
        return evidence, FeatureCensus(feature, 0.1, 1.0, 9, children=2, by_next=found)

    order = [pair(i, float(i), float(i if i < 15 else 44 - i)) for i in range(30)]
    by = {one.by: one for one in agreements([e for e, _ in order], [c for _, c in order])}
    found = by["context_share"]
    assert found.features == 30 and [hits.at for hits in found.precision] == [5, 10, 20]
    # 0 … 14 came true in order, 15 … 29 the other way round.
    assert [hits.precision for hits in found.precision] == [0.0, 0.5, 1.0]
    assert 0 < found.low < found.rho < found.high < 1 and found.p_value < 0.01
    # No feature is told apart by its context: its p is 1, and no order finds any.
    assert [(hits.found, hits.wanted, hits.p_value) for hits in found.split] == [(0, 0, 1.0)] * 3
    assert by["density"].rho == 0 and by["density"].p_value == 1
    assert agreements([], [c for _, c in order]) == []


def test_hits_against_counting_by_hand() -> None:
    # 5 things, 2 wanted. Of the C(5, 2) = 10 pairs one has both, and 7 have at least one.
    assert hits([4, 2, 0, 1, 3], {4, 2}, 2) == Hits(2, 2, 2, 5, pytest.approx(0.1))
    assert hits([4, 2, 0, 1, 3], {4, 0}, 2) == Hits(2, 1, 2, 5, pytest.approx(0.7))
    assert hits([4, 2, 0, 1, 3], {1, 3}, 2).p_value == pytest.approx(1.0)
    assert hits([4, 2, 0, 1, 3], {4, 0}, 2).precision == 0.5
    assert hits([4, 2, 0, 1, 3], {4, 0}, 2).by_chance == 0.4
    # All are wanted, or all are looked at: nothing is told.
    assert hits([0, 1, 2], {0, 1, 2}, 2).p_value == 1 and hits([0, 1, 2], {1}, 3).p_value == 1


def test_the_interval_of_a_rank_correlation_holds_what_it_should() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 60, 2))
    both = [agreement("x", a, 0.8 * a + 0.6 * b, set()) for a, b in x.transpose(0, 2, 1)[:40]]
    truth = 6 / np.pi * np.arcsin(0.8 / 2)  # Spearman's rho of normal variables with correlation 0.8
    held = sum(one.low <= truth <= one.high for one in both)
    assert 34 <= held <= 40, "95 % intervals"
    perfect = agreement("x", np.arange(9.0), np.arange(9.0), set())
    assert (perfect.rho, perfect.low, perfect.high) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("activation", ["relu", "topk"])
def test_explained_is_what_the_graft_itself_reconstructs(activation: Literal["relu", "topk"]) -> None:
    narrow, x, _ = bundled()
    narrow = replace(narrow, activation=activation, k=4 if activation == "topk" else None)
    recipe = GraftRecipe(target=TARGET, threshold=3.0, children=6, steps=300, batch_size=256)
    x, y = hot_residual(narrow, x, recipe)
    result = graft(narrow, x, recipe)
    zeros = np.zeros(len(x), np.int64)
    around = Neighbourhood(np.arange(len(x)), zeros, zeros, zeros)
    found = measured({6: result}, x, y, around, 0.1, CensusRecipe())
    report = measure(result, x)
    assert found.explained == pytest.approx((1 - report["error_after"] / report["error_before"],), rel=1e-4)
    assert found.gain == found.explained[0] > 0.1
