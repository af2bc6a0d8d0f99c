"""A study over several targets: how many of them split, and whether those that were expected to did.

Targets are in the order of the study's file; for ``saetui study run --next N`` that is the order in which the
census's rank expected them to split. The verdict is the split report's for all of them: there are criteria
for one target at most.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saetui.studies.results import CellResult, Over

if TYPE_CHECKING:
    from saetui.census.results import Evidence
    from saetui.studies.file import Values


@dataclass(frozen=True)
class TargetResult:
    """One target over all runs of it. ``kinds``: how often the split report said what; ``effective``: number
    of children."""

    target: int
    runs: int
    judged: int
    kinds: dict[str, int]
    effective: Over | None

    @property
    def split(self) -> int:
        return self.kinds.get("split", 0)

    @property
    def mostly_split(self) -> bool:
        """In more than half of its judged runs."""
        return 2 * self.split > self.judged


def over_targets(cells: Sequence[CellResult]) -> tuple[TargetResult, ...]:
    """One for each target, in their order; none for a study of a single one."""
    by_target: dict[int, list[CellResult]] = {}
    for cell in cells:
        by_target.setdefault(cell.cell.target, []).append(cell)
    if len(by_target) < 2:
        return ()
    return tuple(
        TargetResult(
            target=target,
            runs=len(group),
            judged=sum(cell.found is not None for cell in group),
            kinds=dict(Counter(cell.found.kind for cell in group if cell.found)),
            effective=Over.of(cell.found.effective for cell in group if cell.found),
        )
        for target, group in by_target.items()
    )


def next_targets(evidence: "Sequence[Evidence]", count: int) -> "list[Values]":
    """The ``count`` features that are expected to split first, as targets of a study file."""
    return [{"target": one.feature, "threshold": round(one.threshold, 4)} for one in evidence[:count]]
