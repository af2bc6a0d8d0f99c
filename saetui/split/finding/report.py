"""The split report: what became of a target, for any target and without a criteria file. Without torch.

Definitions of the numbers are beside the formulas, in ``saetui.split.finding.measures`` and
``saetui.split.finding.context_information``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from saetui.errors import UsageError
from saetui.features.results import Child
from saetui.toml_file import check_keys

SplitKind = Literal["split", "partly", "unsplit", "absorbed", "lost"]


@dataclass(frozen=True)
class SplitThresholds:
    """Where the words of a report begin. Ours, not published: the raw numbers stand beside every word."""

    recall: float = 0.05
    """A candidate child fires on at least this share of the target's tokens, …"""
    cosine: float = 0.3
    """… its decoder row points the target's way at least so much, …"""
    precision: float = 0.5
    """… at least this share of its activation is where the target fires, …"""
    share: float = 0.01
    """… and it is the strongest candidate on at least this share of the target's tokens."""
    effective: float = 1.5
    """Split: effective number of children, at least."""
    coverage: float = 0.8
    """Split: share of the target's tokens on which some child fires, at least."""
    specificity: float = 0.8
    """Split: share of the children's activation that is where the target fires, at least."""
    recall_of_one: float = 0.9
    """Split: no child fires on more of the target's tokens."""
    p_value: float = 0.01
    """Split: which child wins depends on the context, at this level."""
    distinctness: float = 0.05
    """Split: 1 - mean cosine between children, more than this."""
    lost: float = 0.5
    """Lost: coverage below this."""
    general: float = 0.6
    """Absorbed: a child with the target's own direction fires on at least this share of its tokens, others on
    most of the rest."""
    copy_cosine: float = 0.95
    """A child with the target's own direction, for *absorbed*; two children alike, for *duplicates*."""
    duplicate: float = 0.9
    """Two children that fire on the same tokens: Jaccard index at least this, and ``copy_cosine``."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "limits") -> Self:
        """``values`` over the defaults. UsageError, beginning with ``where``, for a name that is not known or
        a value that is no number from 0 on."""
        check_keys(values, [f.name for f in fields(cls)], where)
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise UsageError(f"{where}: {name} is {value!r}, but a number from 0 on is needed")
        return cls(**{name: float(value) for name, value in values.items()})


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
class Leak:
    """A feature that would be a candidate if less of its activation were elsewhere."""

    feature: int
    precision: float


@dataclass(frozen=True)
class Funnel:
    """How many features each limit on a candidate left, on the rows that choose: what there is to loosen."""

    features: int
    """All but those excluded, …"""
    recalled: int
    """… of which so many fire on enough of the target's tokens, …"""
    aligned: int
    """… of these point its way, …"""
    faithful: int
    """… of these have enough of their activation where the target fires, …"""
    leading: int
    """… and of these are the strongest one often enough: the candidates."""
    leaking: list[Leak]
    """The ``aligned`` that are not ``faithful``: the first few, most precise first."""


@dataclass(frozen=True)
class Control:
    """Another feature of the narrow SAE, of like density, gone through the same choosing and scoring."""

    feature: int
    tokens_fired: int
    kind: SplitKind
    children: int
    effective: float
    """Effective number of children; 0 where there is none."""
    coverage: float


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
    fvu_without: float | None = None
    """As ``fvu_after``, with the children's activations set to zero: what they carry."""
    limits: SplitThresholds = field(default_factory=SplitThresholds)
    """Where the words begin, as they were set."""
    inherited: int | None = None
    """The feature that began as the target, where the dictionary has one: as a child it is an heir."""
    funnel: Funnel | None = None
    """None where the children were named."""
    controls: list[Control] = field(default_factory=list[Control])
    """Nearest density first; none for a graft, which leaves other features as they are."""

    @property
    def control_p(self) -> float | None:
        """(1 + controls that have at least the target's effective number of children) / (1 + controls);
        None without controls."""
        if not self.controls:
            return None
        reached = self.effective.value if self.effective else 0.0
        return (1 + sum(c.effective >= reached for c in self.controls)) / (1 + len(self.controls))
