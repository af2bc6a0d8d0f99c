"""Whether what was expected before any training came true: rank correlation and precision, beside chance."""

from collections.abc import Collection, Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray

from saetui.census.results import Agreement, Evidence, FeatureCensus, Hits

PREDICTORS = (
    "context_share",
    "unexplained",
    "commonest_share",
    "density",
    "bimodality",
    "nearest_cosine",
)
"""The fields of ``Evidence`` that are held against the census, the one that ranks first."""

PERMUTATIONS = 9999
BOOTSTRAPS = 999
AT = (5, 10, 20)


def agreements(evidence: Sequence[Evidence], census: Sequence[FeatureCensus]) -> list[Agreement]:
    """How each number of the evidence orders the features that have both; none for fewer than three."""
    grafted = {one.feature: one for one in census if one.children}
    known = [one for one in evidence if one.feature in grafted]
    if len(known) < 3:
        return []
    outcome = np.array([grafted[one.feature].by_context for one in known])
    split = {i for i, one in enumerate(known) if grafted[one.feature].split_by == "context"}
    return [agreement(by, np.array([getattr(one, by) for one in known]), outcome, split) for by in PREDICTORS]


def agreement(
    by: str, predicted: NDArray[np.floating], outcome: NDArray[np.floating], split: Collection[int]
) -> Agreement:
    """How ``predicted [n]``, called ``by``, orders n things whose ``outcome [n]`` is known; ``split``:
    positions of those that did split."""
    n = len(outcome)
    rho = spearman(predicted, outcome)
    rng = np.random.default_rng(0)
    a, b = (ranks - ranks.mean() for ranks in (_ranks(predicted), _ranks(outcome)))
    shuffled = rng.permuted(np.broadcast_to(b, (PERMUTATIONS, n)), axis=1) @ a
    p = (1 + int((shuffled >= a @ b - 1e-9).sum())) / (1 + PERMUTATIONS)
    drawn = rng.integers(n, size=(BOOTSTRAPS, n))
    low, high = np.quantile([spearman(predicted[i], outcome[i]) for i in drawn], (0.025, 0.975))
    first, came = (np.argsort(-values, kind="stable").tolist() for values in (predicted, outcome))
    at = [count for count in AT if count < n] or [max(1, n // 2)]
    return Agreement(
        by=by,
        features=n,
        rho=rho,
        low=float(low),
        high=float(high),
        p_value=p,
        precision=tuple(hits(first, came[:count], count) for count in at),
        split=tuple(hits(first, split, count) for count in at),
    )


def hits(order: Sequence[int], wanted: Collection[int], at: int) -> Hits:
    """How many of ``wanted`` are among the first ``at`` of ``order``, and in how many random orders as many
    are: the upper tail of the hypergeometric distribution, exactly."""
    n, k = len(order), len(wanted)
    found = len(set(order[:at]).intersection(wanted))
    ways = sum(comb(k, hit) * comb(n - k, at - hit) for hit in range(found, min(k, at) + 1))
    return Hits(at=at, found=found, wanted=k, of=n, p_value=ways / comb(n, at))


def spearman(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson's correlation of the ranks, ties having their mean rank; 0 where one side is constant."""
    a, b = (ranks - ranks.mean() for ranks in (_ranks(a), _ranks(b)))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else 0.0


def _ranks(values: NDArray[np.floating]) -> NDArray[np.floating]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts + 1) / 2)[inverse]
