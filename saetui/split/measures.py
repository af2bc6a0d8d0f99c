"""The numbers of a split report, from plain arrays.

Notation: S = the held-out tokens on which the target fires above its threshold; F_c = those on which
child c fires at all; d_c = its decoder row, normalised. Coverage together with direction as what makes a
child is after Tree SAE (arXiv 2605.07922); the other numbers are ours and say what they mean.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from saetui.split.report import ContextInformation, SplitKind, SplitThresholds, Spread

PERMUTATIONS = 499
BOOTSTRAPS = 500
MOST_TOKENS = 4000
"""Tokens that context information is computed on, at most: a random sample of S."""

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
    rows = _unit(seen.decoder)
    return 1 - _mean_of_pairs(rows @ rows.T, alone=1.0)


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


def context_information(seen: Observed, seed: int = 0) -> list[ContextInformation]:
    """What the winning child says about its surroundings, most informative neighbour first.

    (I - I_perm) / (H - I_perm): I the mutual information of winner and neighbour over the covered tokens,
    H the winner's entropy, I_perm the mean of I over permutations of the winner. For the previous and
    next token all of it is given the current token (permutations stay within equal current tokens), so
    that a partition by the token itself is no split by context. p = (1 + permutations that reach I) /
    (1 + permutations), times the three neighbours tried.
    """
    rng = np.random.default_rng(seed)
    won = winner(seen)
    chosen = np.flatnonzero(won >= 0)
    if len(chosen) > MOST_TOKENS:
        chosen = np.sort(rng.choice(chosen, MOST_TOKENS, replace=False))
    won, current = won[chosen], seen.current[chosen]
    found = []
    names: tuple[Literal["previous", "next", "current"], ...] = ("previous", "next", "current")
    for name in names:
        given = np.zeros_like(current) if name == "current" else current
        told = information(won, getattr(seen, name)[chosen], given, rng)
        room = told.entropy - told.by_chance
        share = told.corrected / room if room > 1e-9 else 0.0
        found.append(ContextInformation(name, share, min(1.0, len(names) * told.p_value)))
    return sorted(found, key=lambda c: (c.p_value > 0.05, -c.share))


@dataclass(frozen=True)
class Information:
    """What a neighbour says of the winning child, in nats, given something else."""

    entropy: float
    """H(winner | given)."""
    actual: float
    """I(winner; neighbour | given) as counted, which chance alone makes positive."""
    by_chance: float
    """Its mean over permutations of the winner within equal ``given``."""
    p_value: float
    """(1 + permutations that reach ``actual``) / (1 + permutations)."""

    @property
    def corrected(self) -> float:
        """``actual`` less what is due to chance, 0 at least."""
        return max(0.0, self.actual - self.by_chance)


def information(
    won: Ints, neighbour: Ints, given: Ints, rng: np.random.Generator, permutations: int = PERMUTATIONS
) -> Information:
    """Of tokens ``[n]`` with the winner ``won`` (from 0), one of their neighbours and what is given."""
    if not len(won):
        return Information(0.0, 0.0, 0.0, 1.0)
    neighbour, given = _codes(neighbour), _codes(given)
    cell = _codes(given * (int(neighbour.max()) + 1) + neighbour)
    k = int(won.max()) + 1
    entropy = _conditional_entropy(won, given, k)

    def counted(labels: Ints) -> float:
        return entropy - _conditional_entropy(labels, cell, k)

    actual = counted(won)
    null = np.array([counted(_shuffled(won, given, rng)) for _ in range(permutations)])
    p = (1 + int((null >= actual - 1e-12).sum())) / (1 + permutations)
    return Information(entropy, actual, float(null.mean()), p)


def _shuffled(labels: Ints, given: Ints, rng: np.random.Generator) -> Ints:
    """A random permutation of the labels within equal values of ``given``."""
    if given.max() == given.min():
        return rng.permutation(labels)
    shuffled = np.empty_like(labels)
    # Both sides in the order of `given`, one of them in random order within it.
    shuffled[np.argsort(given, kind="stable")] = labels[np.argsort(given + rng.random(len(given)))]
    return shuffled


def _conditional_entropy(labels: Ints, given: Ints, k: int) -> float:
    """H(labels | given) in nats; ``given`` are codes from 0."""
    joint = np.bincount(given * k + labels).astype(float)
    total = np.bincount(given).astype(float)
    return float(_n_log_n(total).sum() - _n_log_n(joint).sum()) / len(labels)


def _n_log_n(counts: Floats) -> Floats:
    return counts * np.log(np.maximum(counts, 1))


def duplicates(seen: Observed, limits: SplitThresholds) -> list[int]:
    """Children (positions) that repeat one with a larger share: the same tokens and the same direction."""
    alike = (jaccard(seen) >= limits.duplicate) & (
        _unit(seen.decoder) @ _unit(seen.decoder).T >= limits.copy_cosine
    )
    kept: list[int] = []
    repeated: list[int] = []
    for c in np.argsort(-seen.children.sum(0), kind="stable").tolist():
        (repeated if any(alike[c, other] for other in kept) else kept).append(c)
    return sorted(repeated)


@dataclass(frozen=True)
class Summary:
    """The numbers that a verdict stands on, and the verdict. Those of children are None without any."""

    kind: SplitKind
    why: str
    """The rule that gave ``kind``."""
    kept: list[int]
    """Children (positions) that repeat no other one, …"""
    repeated: list[int]
    """… and the others, which count in no number."""
    coverage: Spread
    specificity: Spread | None
    effective: Spread | None
    distinctness: float | None
    context: list[ContextInformation]


def summary(seen: Observed, limits: SplitThresholds, intervals: bool = True) -> Summary:
    """One word for what was seen, and the numbers beside it."""
    repeated = duplicates(seen, limits)
    kept = [c for c in range(seen.children.shape[1]) if c not in repeated]
    seen = seen.only(kept)
    covered = coverage(seen, intervals)
    if not kept:
        why = "no feature fires where the target does, in its direction, and leads there"
        return Summary("lost", why, kept, repeated, covered, None, None, None, [])
    specific, effective = specificity(seen, intervals), effective_number(seen, intervals)
    apart, context = distinctness(seen), context_information(seen)
    kind, why = _verdict(seen, covered.value, specific.value, effective.value, apart, context, limits)
    return Summary(kind, why, kept, repeated, covered, specific, effective, apart, context)


def _verdict(
    seen: Observed,
    covered: float,
    specific: float,
    effective: float,
    apart: float,
    context: list[ContextInformation],
    limits: SplitThresholds,
) -> tuple[SplitKind, str]:
    """One word, and the rule that gave it; rules are tried in this order."""
    if covered < limits.lost:
        return "lost", f"children fire on {covered:.0%} of the target's tokens"
    by_context = context[0].p_value < limits.p_value
    general = _general_with_a_hole(seen, limits)
    if general is not None and by_context:
        return (
            "absorbed",
            f"one child is the target itself but for the tokens that others took ({general:.0%})",
        )
    highest = float(recall(seen).max())
    if effective < limits.effective:
        if highest > limits.recall_of_one:
            return "unsplit", f"one child has taken the target's place ({highest:.0%} of its tokens)"
        return "partly", f"one child only, on {highest:.0%} of the target's tokens"
    if apart <= limits.distinctness:
        return "unsplit", f"the children all point one way (distinctness {apart:.2f})"
    if not by_context:
        return "unsplit", "which child fires says nothing about the context: a random partition"
    for holds, reason in (
        (covered >= limits.coverage, f"children fire on {covered:.0%} of the target's tokens only"),
        (specific >= limits.specificity, f"{1 - specific:.0%} of the children's activation is elsewhere"),
        (highest <= limits.recall_of_one, f"one child still fires on {highest:.0%} of the target's tokens"),
    ):
        if not holds:
            return "partly", reason
    return "split", f"{effective:.1f} effective children, told apart by the {context[0].neighbour} token"


def _general_with_a_hole(seen: Observed, limits: SplitThresholds) -> float | None:
    """Absorption (after Chanin et al., arXiv 2409.14507): a child with the target's own direction that fires
    on most of its tokens, most of the rest being others' that point elsewhere. Its recall, or None where
    there is none."""
    on, rows = seen.on, _unit(seen.decoder)
    for c in np.argsort(-recall(seen)).tolist():
        r = float(on[:, c].mean())
        if not limits.general <= r < 0.95 or cosine(seen)[c] < limits.copy_cosine:
            continue
        rest = ~on[:, c]
        others = on[:, rows @ rows[c] < limits.copy_cosine]
        if others[rest].any(1).mean() > 0.5:
            return r
    return None


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


def _codes(values: Ints) -> Ints:
    """The same classes numbered from 0."""
    return np.unique(values, return_inverse=True)[1]
