"""Children found without criteria, against splits and impostors whose truth is known by construction."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from saetui.corpus.grammar import SyntheticRows
from saetui.errors import UsageError, UserError
from saetui.sae.sae import SAE
from saetui.split.finding import measures
from saetui.split.finding.children import split_report
from saetui.split.finding.context_information import context_information
from saetui.split.finding.measures import Observed
from saetui.split.finding.report import SplitReport, SplitThresholds
from saetui.split.finding.split_kind import summarise
from tests.constructed import ADJ, COUNT, DIGIT, HYPHEN, OTHER, WORD, ConstructedLM, sae_of

# --- arrays: the formulas ---------------------------------------------------------------------------

ROWS, PER_ROW, D = 200, 10, 16


def seen_as(on: NDArray, decoder: NDArray, *, kind: NDArray, elsewhere: NDArray | None = None) -> Observed:
    """n tokens, ten to a row; ``on [n, k]`` the children's activations, ``kind [n]`` what precedes each
    token; ``elsewhere [k]``: activation where the target is silent, spread over the rows."""
    n, k = on.shape
    row = np.arange(n) // PER_ROW
    inside = np.zeros((ROWS, k))
    np.add.at(inside, row, on)
    mass = inside if elsewhere is None else inside + elsewhere[None] / ROWS
    parent_decoder = np.eye(D)[0]
    current = np.zeros(n, np.int64)
    rng = np.random.default_rng(7)
    following = rng.integers(0, 5, n)
    return Observed(np.ones(n), on, row, kind, current, following, mass, inside, decoder, parent_decoder)


def near_parent(k: int, cos: float) -> NDArray:
    """k directions at the given cosine to the target's, apart from one another."""
    rows = np.zeros((k, D))
    rows[:, 0] = cos
    rows[np.arange(k), 1 + np.arange(k)] = math.sqrt(1 - cos**2)
    return rows


def verdict_of(seen: Observed, limits: SplitThresholds | None = None) -> str:
    return summarise(seen, limits or SplitThresholds()).kind


def kinds(seed: int = 0, weights: tuple[float, ...] = (0.5, 0.3, 0.2)) -> NDArray:
    return np.random.default_rng(seed).choice(len(weights), ROWS * PER_ROW, p=weights)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weights", [(0.5, 0.3, 0.2), (0.6, 0.4), (0.25,) * 4, (0.45, 0.25, 0.15, 0.1, 0.05)])
def test_true_splits(seed: int, weights: tuple[float, ...]) -> None:
    kind = kinds(seed, weights)
    seen = seen_as(np.eye(len(weights))[kind], near_parent(len(weights), 0.85), kind=kind)
    assert verdict_of(seen) == "split"
    q = np.bincount(kind) / len(kind)
    assert measures.effective_number(seen).value == pytest.approx(np.exp(-(q * np.log(q)).sum()))
    assert measures.recall(seen) == pytest.approx(q)
    assert measures.share(seen) == pytest.approx(q)
    assert measures.coverage(seen).value == 1.0
    assert measures.specificity(seen).value == 1.0
    assert measures.margin(seen).value == 1.0
    assert measures.overlap(seen) == 0.0
    assert measures.distinctness(seen) == pytest.approx(1 - 0.85**2)
    first = context_information(seen)[0]
    assert (first.neighbour, first.share) == ("previous", pytest.approx(1.0))
    assert first.p_value < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_is_no_split(seed: int) -> None:
    kind = kinds(seed)
    seen = seen_as(np.ones((len(kind), 1)), near_parent(1, 0.99), kind=kind)
    assert verdict_of(seen) == "unsplit"
    assert measures.effective_number(seen).value == pytest.approx(1.0)
    assert measures.distinctness(seen) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_are_one_child(seed: int) -> None:
    """Two copies that differ by noise: who wins is chance, which must not look like two children."""
    kind = kinds(seed)
    on = np.random.default_rng(seed).uniform(0.9, 1.1, (len(kind), 2))
    decoder = near_parent(2, 0.995)
    seen = seen_as(on, decoder, kind=kind)
    assert measures.effective_number(seen).value == pytest.approx(2.0, abs=0.01)
    assert len(measures.duplicates(seen, SplitThresholds())) == 1
    assert verdict_of(seen) == "unsplit"


@pytest.mark.parametrize("seed", range(3))
def test_a_random_partition_is_no_split(seed: int) -> None:
    kind = kinds(seed)
    part = np.random.default_rng(100 + seed).integers(0, 3, len(kind))
    seen = seen_as(np.eye(3)[part], near_parent(3, 0.85), kind=kind)
    # Everything but the context speaks for a split.
    assert measures.coverage(seen).value == 1.0
    assert measures.effective_number(seen).value == pytest.approx(3.0, abs=0.01)
    assert context_information(seen)[0].share < 0.02
    assert verdict_of(seen) == "unsplit"


@pytest.mark.parametrize("seed", range(3))
def test_absorption(seed: int) -> None:
    """A general child with the target's direction, silent on one kind, which a sibling took."""
    kind = kinds(seed, (0.5, 0.3, 0.2))
    on = np.stack([kind != 2, kind == 2], 1).astype(float)
    decoder = np.concatenate([near_parent(1, 0.99), near_parent(2, 0.7)[1:]])
    seen = seen_as(on, decoder, kind=kind)
    assert verdict_of(seen) == "absorbed"
    # A true 80 : 20 split has no child with the target's own direction.
    assert verdict_of(seen_as(on, near_parent(2, 0.8), kind=kind)) == "split"


def test_gone_and_leaking() -> None:
    kind = kinds()
    nothing = seen_as(np.zeros((len(kind), 0)), np.zeros((0, D)), kind=kind)
    assert measures.coverage(nothing).value == 0.0
    assert verdict_of(nothing) == "lost"
    # Children on a tenth of the tokens.
    few = np.eye(3)[kind] * (np.arange(len(kind)) % 10 == 0)[:, None]
    assert verdict_of(seen_as(few, near_parent(3, 0.8), kind=kind)) == "lost"
    # As many firings elsewhere: features of something else that pass through.
    on = np.eye(3)[kind]
    leak = seen_as(on, near_parent(3, 0.8), kind=kind, elsewhere=on.sum(0))
    assert measures.specificity(leak).value < 0.7
    assert verdict_of(leak) == "partly"
    # The target itself still there, children beside it.
    beside = np.concatenate([np.full((len(kind), 1), 0.5), on], 1)
    assert verdict_of(seen_as(beside, near_parent(4, 0.8), kind=kind)) == "partly"


def test_a_split_by_the_token_itself_is_no_context() -> None:
    """Given the current token, the previous one says nothing about a child that reads the token."""
    kind = kinds()
    seen = seen_as(np.eye(3)[kind], near_parent(3, 0.8), kind=kind)
    by_token = Observed(**{**vars(seen), "current": kind, "previous": (kind * 7 + 1)})
    found = {c.neighbour: c for c in context_information(by_token)}
    assert found["current"].share == pytest.approx(1.0)
    assert found["previous"].share == 0.0
    assert found["previous"].p_value == 1.0


def test_intervals_are_over_rows() -> None:
    """Tokens of a row go together: repeating each token ten times must not narrow the interval."""
    rng = np.random.default_rng(3)
    one = (rng.random(ROWS) < 0.5).astype(float)
    on = np.repeat(one, PER_ROW)[:, None]
    spread = measures.coverage(seen_as(on, near_parent(1, 0.9), kind=np.zeros(len(on), np.int64)))
    by_rows = 1.96 * math.sqrt(0.25 / ROWS)
    assert spread.high - spread.low == pytest.approx(2 * by_rows, rel=0.2)
    assert spread.low < spread.value < spread.high


def test_divergence_of_logits() -> None:
    same = np.zeros((2, 8))
    assert measures.logit_divergence(same) == pytest.approx(0.0, abs=1e-12)
    apart = np.array([[100.0, 0, 0], [0, 100.0, 0]])
    assert measures.logit_divergence(apart) == pytest.approx(math.log(2))


# --- a language model: choosing and reading --------------------------------------------------------

NARROW = sae_of({HYPHEN: 1.0})
WHOLE = {COUNT: 1.0, ADJ: 1.0, DIGIT: 1.0, OTHER: 1.0}


def toward(direction: int) -> dict[int, float]:
    return {HYPHEN: 1.0, direction: 1.0}


@pytest.fixture(scope="module")
def lm() -> ConstructedLM:
    return ConstructedLM()


def report(lm: ConstructedLM, sae: SAE, **options) -> SplitReport:
    return split_report(lm, sae, NARROW, 0, 2.0, SyntheticRows("eval"), tokens=40_000, **options)


def test_the_synthetic_hyphen_split_by_its_labels(lm: ConstructedLM) -> None:
    rows = SyntheticRows("eval")
    sae = sae_of(
        {WORD: 1.0}, {COUNT: 1.0}, {ADJ: 1.0}, {DIGIT: 1.0}, {OTHER: 1.0},
        decoder=({WORD: 1.0}, toward(COUNT), toward(ADJ), toward(DIGIT), toward(OTHER)),
    )  # fmt: skip
    found = report(lm, sae)
    assert found.kind == "split"
    # 40,000 tokens are 851 rows, the first 425 of which chose.
    labels = rows.labels(425, 426)
    shares = np.bincount(labels[labels >= 0], minlength=4) / (labels >= 0).sum()
    assert found.tokens_fired == (labels >= 0).sum()
    assert found.tokens_read == 426 * 47
    by_feature = sorted(found.children, key=lambda c: c.feature)
    assert [c.share for c in by_feature] == pytest.approx(shares)
    assert found.children == sorted(found.children, key=lambda c: -c.share)
    for child in found.children:
        assert child.recall == child.share
        assert child.precision == 1.0
        assert child.cosine == pytest.approx(math.sqrt(0.5))
        assert len(child.contexts) == 8
        assert all(context.tokens[context.center] == "-" for context in child.contexts)
    boosted = {c.feature: c.boosted[0].token for c in found.children}
    assert (boosted[1], boosted[2], boosted[3]) == ("part", "term", "day")
    assert found.context[0].neighbour == "previous"
    assert found.context[0].share > 0.95
    assert found.logit_divergence is not None and found.logit_divergence > 0.0


def test_the_synthetic_hyphen_unsplit(lm: ConstructedLM) -> None:
    found = report(lm, sae_of({WORD: 1.0}, {HYPHEN: 1.0}))
    assert (found.kind, [c.feature for c in found.children]) == ("unsplit", [1])
    # Two copies at new indices: one child, and the other said to repeat it.
    twice = report(lm, sae_of({WORD: 1.0}, {HYPHEN: 1.0}, {HYPHEN: 0.9}))
    assert (twice.kind, [c.feature for c in twice.children], twice.duplicates) == ("unsplit", [1], [2])


def test_who_is_no_candidate(lm: ConstructedLM) -> None:
    """Too rare, off the target, or pointing elsewhere: not chosen."""
    found = report(
        lm,
        sae_of(
            {COUNT: 1.0}, {HYPHEN: 0.1, WORD: 1.0}, {ADJ: 1.0}, {HYPHEN: 1.0},
            decoder=(toward(COUNT), {HYPHEN: 1.0}, {WORD: 1.0}, {HYPHEN: 1.0}),
        ),
        excluded=[3],
    )  # fmt: skip
    assert [c.feature for c in found.children] == [0]
    assert found.kind == "lost"
    assert report(lm, sae_of({WORD: 1.0})).kind == "lost"


def test_what_is_explained_on_the_targets_tokens(lm: ConstructedLM) -> None:
    """The narrow SAE has the hyphen right and leaves the class; the wide one leaves the others' class."""
    found = report(lm, sae_of({HYPHEN: 1.0}, {COUNT: 1.0}, {ADJ: 1.0}), candidates=[1, 2])
    rows = SyntheticRows("eval").read(0, 851).astype(np.int64)
    x = lm.activations(torch.tensor(rows))[torch.tensor(rows) == lm.hyphen].double()
    variance = (x - x.mean(0)).square().sum()
    left = x.clone()
    left[:, HYPHEN] = 0
    assert found.fvu_before == pytest.approx(float(left.square().sum() / variance), rel=1e-5)
    left[:, [COUNT, ADJ]] = 0
    assert found.fvu_after == pytest.approx(float(left.square().sum() / variance), rel=1e-5)


def test_named_candidates_score_on_all_rows(lm: ConstructedLM) -> None:
    found = report(lm, sae_of({COUNT: 1.0}, {WORD: 1.0}), candidates=[0, 1])
    assert found.tokens_read == 851 * 47
    assert {c.feature for c in found.children} == {0, 1}
    assert next(c for c in found.children if c.feature == 1).contexts == []


def test_weak_firings_elsewhere_do_not_hide_a_child(lm: ConstructedLM) -> None:
    """As trained children have: more firings off the target than on it, but next to no activation there."""
    count, rest = {COUNT: 1.0, WORD: 0.001}, {ADJ: 1.0, DIGIT: 1.0, OTHER: 1.0, WORD: 0.001}
    found = report(lm, sae_of(count, rest, decoder=(toward(COUNT), toward(ADJ))))
    assert (found.kind, {c.feature for c in found.children}) == ("split", {0, 1})
    assert all(0.5 < child.precision < 1 for child in found.children)
    # With most of its activation elsewhere it is a leak, and the report says so.
    leaky = report(lm, sae_of({COUNT: 1.0, WORD: 1.0}, rest, decoder=(toward(COUNT), toward(ADJ))))
    assert [c.feature for c in leaky.children] == [1]
    assert leaky.funnel is not None
    assert [leak.feature for leak in leaky.funnel.leaking] == [0]
    funnel = leaky.funnel
    assert (funnel.features, funnel.recalled, funnel.aligned, funnel.faithful) == (2, 2, 2, 1)
    looser = report(
        lm,
        sae_of({COUNT: 1.0, WORD: 1.0}, rest, decoder=(toward(COUNT), toward(ADJ))),
        limits=SplitThresholds(precision=0.0),
    )
    assert {c.feature for c in looser.children} == {0, 1}
    assert (looser.kind, looser.limits.precision) == ("partly", 0.0)


def test_a_feature_that_never_leads_is_no_child(lm: ConstructedLM) -> None:
    found = report(
        lm,
        sae_of(
            {COUNT: 1.0}, {ADJ: 1.0, DIGIT: 1.0, OTHER: 1.0}, {ADJ: 0.1, DIGIT: 0.1},
            decoder=(toward(COUNT), toward(ADJ), toward(DIGIT)),
        ),
    )  # fmt: skip
    assert {c.feature for c in found.children} == {0, 1}
    assert found.funnel is not None
    assert (found.funnel.faithful, found.funnel.leading) == (3, 2)


def test_what_the_children_carry(lm: ConstructedLM) -> None:
    found = report(lm, sae_of({HYPHEN: 1.0}, {COUNT: 1.0}, {ADJ: 1.0}), candidates=[1, 2])
    assert found.fvu_without == pytest.approx(found.fvu_before, rel=1e-5)  # what is left is the narrow SAE


def test_the_heir_is_marked(lm: ConstructedLM) -> None:
    assert report(lm, sae_of({WORD: 1.0}, {HYPHEN: 1.0}), inherited=1).inherited == 1
    assert report(lm, sae_of({WORD: 1.0}, {HYPHEN: 1.0}), inherited=0).inherited is None


def test_control_features_of_like_density(lm: ConstructedLM) -> None:
    """The target is split, three others of its density are copied: none of them reaches it."""
    several = sae_of({HYPHEN: 1.0}, {COUNT: 1.0}, {ADJ: 1.0}, {DIGIT: 1.0}, {WORD: 1.0})
    wide = sae_of(
        {COUNT: 1.0}, {ADJ: 1.0}, {DIGIT: 1.0}, {OTHER: 1.0},
        decoder=(toward(COUNT), toward(ADJ), toward(DIGIT), toward(OTHER)),
    )  # fmt: skip
    found = split_report(lm, wide, several, 0, 2.0, SyntheticRows("eval"), tokens=40_000, control_features=9)
    assert found.kind == "split"
    assert {c.feature for c in found.controls} <= {1, 2, 3}  # WORD fires on nearly every token
    assert found.controls
    assert all(c.kind in ("unsplit", "partly") and c.effective < 1.1 for c in found.controls)
    assert found.control_p == 1 / (1 + len(found.controls))
    assert report(lm, wide).control_p is None


def test_limits_are_numbers_with_known_names() -> None:
    assert SplitThresholds.from_dict({"precision": 0.2}) == SplitThresholds(precision=0.2)
    with pytest.raises(UsageError, match=r"here: unknown key 'precison'; did you mean 'precision'\?"):
        SplitThresholds.from_dict({"precison": 0.2}, "here")
    for wrong in (-1, "much", True, math.nan):
        with pytest.raises(UsageError, match=r"limits: recall is .* a number from 0 on is needed"):
            SplitThresholds.from_dict({"recall": wrong})


def test_bad_input(lm: ConstructedLM) -> None:
    rows = SyntheticRows("eval")
    with pytest.raises(UserError, match=r"does not fire above 9 on .* lower the threshold"):
        split_report(lm, NARROW, NARROW, 0, 9.0, rows, tokens=2000)
    with pytest.raises(UsageError, match="feature 5 is out of range"):
        split_report(lm, NARROW, NARROW, 5, 2.0, rows, tokens=2000)
