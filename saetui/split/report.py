"""The split report: what became of a target, for any target and without a criteria file. Without torch.

Definitions of the numbers are beside the formulas, in ``saetui.split.measures``.
"""

from dataclasses import dataclass, field
from typing import Literal

from saetui.features.results import Child

SplitKind = Literal["split", "partly", "unsplit", "absorbed", "lost"]


@dataclass(frozen=True)
class SplitThresholds:
    """Where the words of a report begin. Ours, not published: the raw numbers stand beside every word."""

    recall: float = 0.05
    """A candidate child fires on at least this share of the target's tokens, …"""
    precision: float = 0.5
    """… at least this share of its firings are there, …"""
    cosine: float = 0.3
    """… and its decoder row points the target's way at least so much."""
    effective: float = 1.5
    """Split: effective number of children, at least."""
    coverage: float = 0.8
    """Split: share of the target's tokens on which some child fires, at least."""
    specificity: float = 0.8
    """Split: share of the children's firings that are on the target's tokens, at least."""
    recall_of_one: float = 0.9
    """Split: no child fires on more of the target's tokens."""
    p_value: float = 0.01
    """Split: which child wins depends on the context, at this level."""
    distinctness: float = 0.05
    """Split: 1 - mean cosine between children, more than this."""
    lost: float = 0.5
    """Lost: coverage below this."""
    copy_cosine: float = 0.95
    """A child with the target's own direction, for *absorbed*; two children alike, for *duplicates*."""
    duplicate: float = 0.9
    """Two children that fire on the same tokens: Jaccard index at least this, and ``copy_cosine``."""


@dataclass(frozen=True)
class Spread:
    """A number and its 95 % bootstrap interval over rows (not tokens: those of one row go together)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ContextInformation:
    """Information that the winning child carries about one neighbour, as a share of the winner's entropy.

    ``neighbour``: ``previous``, ``next`` or ``current`` token. ``share`` is corrected by permutation: 0
    for a random partition, 1 where the neighbour tells the child. The first two are given the current
    token. ``p_value`` is adjusted for having tried three neighbours.
    """

    neighbour: Literal["previous", "next", "current"]
    share: float
    p_value: float


@dataclass(frozen=True)
class SplitReport:
    """What became of a target. NaN never occurs: None stands where a number is not defined."""

    target: int
    threshold: float
    tokens_read: int
    """Held-out tokens that were scored; as many others chose the children."""
    tokens_fired: int
    """Of these, tokens on which the target fires above its threshold."""
    kind: SplitKind
    why: str
    """The rule that gave ``kind``, in a line."""
    children: list[Child]
    """Largest share first."""
    duplicates: list[int]
    """Features left out because a child with the same tokens and direction is in."""
    coverage: Spread
    fvu_before: float
    """Fraction of variance unexplained on the tokens of the target, by the narrow SAE …"""
    fvu_after: float
    """… and by the encoder that was looked at."""
    specificity: Spread | None = None
    effective: Spread | None = None
    margin: Spread | None = None
    overlap: float | None = None
    distinctness: float | None = None
    context: list[ContextInformation] = field(default_factory=list[ContextInformation])
    """Most informative first."""
    logit_divergence: float | None = None
    """Mean pairwise Jensen-Shannon divergence of the children's logit lenses, in nats (at most ln 2)."""
