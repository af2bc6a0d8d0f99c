"""What the winning child says of the tokens around it, beyond what chance says too.

Notation as in ``saetui.split.finding.measures``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from saetui.split.finding.measures import Floats, Ints, Observed, winner
from saetui.split.finding.report import ContextInformation

PERMUTATIONS = 499
MOST_TOKENS = 4000
"""Tokens that context information is computed on, at most: a random sample of S."""


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


def _codes(values: Ints) -> Ints:
    """The same classes numbered from 0."""
    return np.unique(values, return_inverse=True)[1]
