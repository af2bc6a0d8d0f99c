"""The numbers of a split report, from plain arrays.

Notation: S = the held-out tokens on which the target fires above its threshold; F_c = those on which
child c fires at all; d_c = its decoder row, normalised. Coverage together with direction as what makes a
child is after Tree SAE (arXiv 2605.07922); the other numbers are ours and say what they mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saetui.split.finding.report import SplitThresholds, Spread

BOOTSTRAPS = 500

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


@dataclass(frozen=True)
class Observed:
    """What was seen of a target and its k children on held-out rows. n = |S|."""

    parent: Floats
    """The target's activations on S, ``[n]``."""
    children: Floats
    """The children's activations on S, ``[n, k]``."""
    row: Ints
    """The row of each token of S, ``[n]``, from 0 to ``rows`` - 1."""
    previous: Ints
    current: Ints
    next: Ints
    """Token ids around and on S, ``[n]`` each; -1 where the row ends."""
    mass: Floats
    """Sum of each child's activations over all tokens of a row, S or not: ``[rows, k]``."""
    inside: Floats
    """The same over the tokens on which the target fires at all, above its threshold or not."""
    decoder: Floats
    """Decoder rows of the children, ``[k, d_in]``."""
    parent_decoder: Floats
    """The target's, ``[d_in]``."""

    @property
    def on(self) -> NDArray[np.bool_]:
        return self.children > 0

    def only(self, chosen: list[int]) -> "Observed":
        """The same with some of the children."""
        return Observed(
            self.parent,
            self.children[:, chosen],
            self.row,
            self.previous,
            self.current,
            self.next,
            self.mass[:, chosen],
            self.inside[:, chosen],
            self.decoder[chosen],
            self.parent_decoder,
        )


def recall(seen: Observed) -> Floats:
    """|F_c ∩ S| / |S| of every child, ``[k]``."""
    return seen.on.mean(0)


def precision(seen: Observed) -> Floats:
    """Σ a_c where the target fires / Σ a_c of every child, ``[k]``; 0 where it never fires.

    By activation, not by firings: a trained feature has many weak firings, which hardly matter to what it
    writes. And where the target fires at all: a child on a token that the target is weak on has not left it.
    """
    return seen.inside.sum(0) / np.maximum(seen.mass.sum(0), 1e-12)


def masked_cosine(seen: Observed) -> Floats:
    """Σ a_p a_c / (‖a_p‖ ‖a_c‖) over S of every child, ``[k]`` (Towards Monosemanticity, 2023)."""
    norms = np.linalg.norm(seen.parent) * np.linalg.norm(seen.children, axis=0)
    return seen.parent @ seen.children / np.maximum(norms, 1e-12)


def cosine(seen: Observed) -> Floats:
    """cos(d_c, d_target) of every child, ``[k]``."""
    return _unit(seen.decoder) @ _unit(seen.parent_decoder[None])[0]


def cosines(seen: Observed) -> Floats:
    """cos(d_c, d_c') of every pair of children, ``[k, k]``."""
    rows = _unit(seen.decoder)
    return rows @ rows.T


def winner(seen: Observed) -> Ints:
    """The strongest child on every token of S, ``[n]``; -1 where none fires."""
    if not seen.children.shape[1]:
        return np.full(len(seen.parent), -1)
    return np.where(seen.on.any(1), seen.children.argmax(1), -1)


def share(seen: Observed) -> Floats:
    """Share of S on which each child is the strongest, ``[k]``."""
    won = winner(seen)
    k = seen.children.shape[1]
    return np.bincount(won[won >= 0], minlength=k)[:k] / max(len(won), 1)


def coverage(seen: Observed, intervals: bool = True) -> Spread:
    """|∪_c F_c ∩ S| / |S|: are the target's tokens still some child's?"""
    any_on = seen.on.any(1).astype(float)
    per_row = np.stack([_by_row(any_on, seen), _by_row(np.ones_like(any_on), seen)], 1)
    return _bootstrap(per_row, lambda total: total[..., 0] / np.maximum(total[..., 1], 1), intervals)


def specificity(seen: Observed, intervals: bool = True) -> Spread:
    """Σ_c r_c π_c / Σ_c r_c, r recall and π precision: what share of the children's activation is where the
    target fires, with every child weighted by its recall."""
    k = seen.children.shape[1]
    per_row = np.concatenate([_by_row(seen.on.astype(float), seen), seen.inside, seen.mass], 1)

    def value(total: Floats) -> Floats:
        on, inside, mass = total[..., :k], total[..., k : 2 * k], np.maximum(total[..., 2 * k :], 1e-12)
        return (on * inside / mass).sum(-1) / np.maximum(on.sum(-1), 1)

    return _bootstrap(per_row, value, intervals)


def effective_number(seen: Observed, intervals: bool = True) -> Spread:
    """exp(entropy of the share of S that each child wins): 1 for a copy of the target."""
    k = seen.children.shape[1]
    won = np.eye(k + 1)[winner(seen)][:, :k]  # the last row is that of -1: none

    def value(total: Floats) -> Floats:
        q = total / np.maximum(total.sum(-1, keepdims=True), 1)
        return np.exp(-(q * np.log(np.maximum(q, 1e-12))).sum(-1))

    return _bootstrap(_by_row(won, seen), value, intervals)


def token_margins(children: Floats) -> Floats:
    """1 - a₂/a₁ of the two strongest children on every token, ``[n]``, of activations ``[n, k]``: 0 where
    none fires, 1 where one does alone."""
    top = np.sort(children, axis=1)[:, ::-1]
    second = top[:, 1] if top.shape[1] > 1 else np.zeros(len(top))
    return np.where(top[:, 0] > 0, 1 - second / np.maximum(top[:, 0], 1e-12), 0)


def margin(seen: Observed) -> Spread:
    """Mean over the covered tokens of S of 1 - a₂/a₁ among the children: the seed's "no close second"."""
    covered = seen.on.any(1).astype(float)
    per_row = np.stack([_by_row(token_margins(seen.children), seen), _by_row(covered, seen)], 1)
    return _bootstrap(per_row, lambda total: total[..., 0] / np.maximum(total[..., 1], 1))


def jaccard(seen: Observed) -> Floats:
    """|F_c ∩ F_c' ∩ S| / |(F_c ∪ F_c') ∩ S| of every pair, ``[k, k]``."""
    on = seen.on.astype(float)
    both = on.T @ on
    either = on.sum(0)[:, None] + on.sum(0)[None] - both
    return both / np.maximum(either, 1)


def overlap(seen: Observed) -> float:
    """Mean Jaccard index over pairs of children: 0 where no two fire together."""
    return _mean_of_pairs(jaccard(seen))


def distinctness(seen: Observed) -> float:
    """1 - mean cosine between the decoder rows of children."""
    return 1 - _mean_of_pairs(cosines(seen), alone=1.0)


def logit_divergence(logits: Floats) -> float:
    """Mean Jensen-Shannon divergence, in nats, between children of softmax(d_c W_U); ``[k, d_vocab]``."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(1)
    pairs = np.zeros((len(p), len(p)))
    for i in range(len(p)):
        for j in range(i):
            mixed = (p[i] + p[j]) / 2
            pairs[i, j] = pairs[j, i] = (
                -(mixed * np.log(np.maximum(mixed, 1e-30))).sum() - (entropy[i] + entropy[j]) / 2
            )
    return _mean_of_pairs(pairs)


def duplicates(seen: Observed, limits: SplitThresholds) -> list[int]:
    """Children (positions) that repeat one with a larger share: the same tokens and the same direction."""
    alike = (jaccard(seen) >= limits.duplicate) & (cosines(seen) >= limits.copy_cosine)
    kept: list[int] = []
    repeated: list[int] = []
    for c in np.argsort(-seen.children.sum(0), kind="stable").tolist():
        (repeated if any(alike[c, other] for other in kept) else kept).append(c)
    return sorted(repeated)


def _by_row(values: Floats, seen: Observed) -> Floats:
    """Sums over the tokens of each row: ``[n, …]`` to ``[rows, …]``."""
    total = np.zeros((len(seen.mass), *values.shape[1:]))
    np.add.at(total, seen.row, values)
    return total


def _bootstrap(per_row: Floats, value: Callable[[Floats], Floats], intervals: bool = True) -> Spread:
    """A function of sums over rows, with the 2.5 and 97.5 % quantiles over resampled rows; without
    ``intervals`` these are the value itself."""
    if not intervals:
        alone = float(value(per_row.sum(0)))
        return Spread(alone, alone, alone)
    rng = np.random.default_rng(0)
    n = len(per_row)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=BOOTSTRAPS).astype(float)
    low, high = np.quantile(value(weights @ per_row), (0.025, 0.975))
    return Spread(float(value(per_row.sum(0))), float(low), float(high))


def _mean_of_pairs(matrix: Floats, alone: float = 0.0) -> float:
    """Mean off the diagonal; ``alone`` where there is no pair."""
    k = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (k * (k - 1))) if k > 1 else alone


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
