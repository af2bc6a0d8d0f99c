"""What goes with a run that is deleted (``runs.store.remove_run``), told before it goes. Without torch."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from saetui.errors import UserError
from saetui.quantities import size
from saetui.runs.status import status
from saetui.runs.store import Run
from saetui.split.judging.review import read_review
from saetui.studies.store import list_studies


@dataclass(frozen=True)
class Loss:
    """What is lost with a run. ``verdict``: as the lists have it; ``answers``: what a person said to it;
    ``studies``: those that it was made for, which make it anew when they go on."""

    id: str
    state: str
    summary: str
    bytes: int
    verdict: str | None
    answers: int
    studies: tuple[str, ...]

    @property
    def line(self) -> str:
        """``1122-1403-f41-k7q: 12.3 MiB, verdict (2 of 3), 4 answers of yours, a run of the study m``."""
        parts = [size(self.bytes)]
        if self.verdict:
            parts.append(f"verdict {self.verdict}")
        if self.answers:
            parts.append(f"{self.answers} answer{'s' if self.answers > 1 else ''} of yours")
        parts += [f"a run of the study {study}" for study in self.studies]
        return f"{self.id}: {', '.join(parts)}"


def losses(runs: Sequence[Run]) -> list[Loss]:
    """What would be lost with ``runs``, which are in one folder. UserError where a process works for one of
    them, or where one is no run (any more)."""
    studies = [(study.name, set(study.run_ids().values())) for study in list_studies(runs[0].root)]
    found: list[Loss] = []
    for run in runs:
        now = status(run)
        if run.alive():
            raise UserError(f"{run.id} is {now.state}: it can be deleted once it is stopped or paused")
        of = tuple(name for name, its in studies if run.id in its)
        answers = len(read_review(run.folder).answers)
        found.append(Loss(run.id, now.state, now.summary, _bytes(run), now.verdict, answers, of))
    return found


def total(lost: Sequence[Loss]) -> str:
    """``2 runs, 24.6 MiB``."""
    runs = f"{len(lost)} run{'s' if len(lost) > 1 else ''}"
    return f"{runs}, {size(sum(loss.bytes for loss in lost))}"


def _bytes(run: Run) -> int:
    found = 0
    for folder, _, names in os.walk(run.folder):
        for name in names:
            with suppress(FileNotFoundError):  # deleted elsewhere at this moment
                found += Path(folder, name).lstat().st_size
    return found
