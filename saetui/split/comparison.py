"""Two runs that split one target, compared child by child: the records. Without torch."""

from dataclasses import dataclass

from saetui.features.results import Child
from saetui.runs.cost import Cost


@dataclass(frozen=True)
class ComparedRun:
    """One side. ``children`` are those of its split report that fire often enough to be one, largest share
    first; ``only`` are those of them that the other run does not have."""

    run: str
    kind: str
    """``graft`` or ``split``."""
    cost: Cost
    children: list[Child]
    only: list[int]


@dataclass(frozen=True)
class Match:
    """A child of the first run and a child of the second.

    ``cosine``: of the decoder rows. ``agreement``: Σ ab / (‖a‖ ‖b‖) of their activations over the held-out
    tokens on which the target fires.
    """

    first: int
    second: int
    cosine: float
    agreement: float


@dataclass(frozen=True)
class Comparison:
    """Two runs with one target of one narrow SAE.

    ``matches``: the children that are the same in both, one to one, so chosen that their total agreement is
    highest; best first. ``nearest`` has, for every child of either run that is in no match, the child of the
    other run that it agrees with most: it may be a duplicate of a matched one, or a word of its family.
    """

    target: int
    threshold: float
    tokens_read: int
    """Held-out tokens on which agreement is measured; no children were chosen on them."""
    tokens_fired: int
    """Of these, tokens on which the target fires above the threshold."""
    first: ComparedRun
    second: ComparedRun
    matches: list[Match]
    nearest: list[Match]

    def nearest_to(self, child: int, of_first: bool) -> Match | None:
        """Of a child that only the first run has, or only the second; None where the other has none."""
        near = [match for match in self.nearest if child == (match.first if of_first else match.second)]
        # A child of the other run may have this one as its nearest too, with less agreement at most.
        return max(near, key=lambda match: match.agreement, default=None)
