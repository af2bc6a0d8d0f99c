"""Whether what was expected before any training came true: rank correlation and precision."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saetui.census.results import Agreement, Evidence, FeatureCensus

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
AT = (5, 10, 20)


def agreements(evidence: Sequence[Evidence], census: Sequence[FeatureCensus]) -> list[Agreement]:
    """How each number of the evidence orders the features that have both; none for fewer than three."""
    grafted = {one.feature: one.by_context for one in census if one.children}
    known = [one for one in evidence if one.feature in grafted]
    if len(known) < 3:
        return []
    outcome = np.array([grafted[one.feature] for one in known])
    return [_agreement(by, np.array([getattr(one, by) for one in known]), outcome) for by in PREDICTORS]


def spearman(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson's correlation of the ranks, ties having their mean rank; 0 where one side is constant."""
    a, b = (ranks - ranks.mean() for ranks in (_ranks(a), _ranks(b)))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else 0.0


def _agreement(by: str, predicted: NDArray[np.floating], outcome: NDArray[np.floating]) -> Agreement:
    n = len(outcome)
    rho = spearman(predicted, outcome)
    rng = np.random.default_rng(0)
    a, b = (ranks - ranks.mean() for ranks in (_ranks(predicted), _ranks(outcome)))
    shuffled = rng.permuted(np.broadcast_to(b, (PERMUTATIONS, n)), axis=1) @ a
    p = (1 + int((shuffled >= a @ b - 1e-9).sum())) / (1 + PERMUTATIONS)
    first, came = (np.argsort(-values, kind="stable") for values in (predicted, outcome))
    at = tuple(min(count, n) for count in AT)
    precision = tuple(len(set(first[:count]) & set(came[:count])) / count for count in at)
    return Agreement(by, n, rho, p, at, precision)


def _ranks(values: NDArray[np.floating]) -> NDArray[np.floating]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts + 1) / 2)[inverse]
