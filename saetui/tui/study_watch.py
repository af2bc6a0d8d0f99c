"""Where studies stand and what came out, looked at once a second; read anew only where files changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from saetui.errors import UserError
from saetui.runs.files import signature
from saetui.runs.store import LIVE, Run
from saetui.studies.report import ReportReader, run_files
from saetui.studies.results import StudyReport
from saetui.studies.status import StudyStatus, study_status
from saetui.studies.store import Study, list_studies
from saetui.studies.verdicts import was_split
from saetui.tui.known import Known


@dataclass(frozen=True)
class SeenStudy:
    """A study as it was last looked at: where it stands, and of each cell whether its run split the target
    (None: no verdict). Its runs' curves are not read for that."""

    study: Study
    status: StudyStatus
    splits: tuple[bool | None, ...]

    @property
    def live(self) -> bool:
        """Whether it changes without its files telling: a process may die in silence."""
        return self.status.state == "running" or bool(self.status.count(*LIVE))

    @property
    def judged(self) -> int:
        return sum(split is not None for split in self.splits)

    @property
    def successes(self) -> int:
        """Cells whose target was split."""
        return sum(bool(split) for split in self.splits)


@dataclass(frozen=True)
class SeenReport(SeenStudy):
    """With all that came out."""

    report: StudyReport


Seen = TypeVar("Seen", bound=SeenStudy)


@dataclass(frozen=True)
class SeenStudies(Generic[Seen]):
    """``problems``: a line for each study that cannot be read."""

    studies: list[Seen]
    problems: list[str]


class StudyWatch(Generic[Seen]):
    """Some studies, each ``known`` in its own way."""

    def __init__(self, studies: Callable[[], list[Study]], known: Callable[[Study], Known[Seen]]) -> None:
        self._studies, self._made = studies, known
        self._known: dict[Path, Known[Seen]] = {}
        self._last: SeenStudies[Seen] | None = None

    def poll(self) -> SeenStudies[Seen] | None:
        """None where nothing has changed. OSError where the folder cannot be read."""
        self._known = {s.folder: self._known.get(s.folder) or self._made(s) for s in self._studies()}
        seen: list[Seen] = []
        problems: list[str] = []
        for known in self._known.values():
            try:
                seen.append(known.look())
            except (UserError, OSError) as error:
                problems.append(str(error))
        found = SeenStudies(seen, problems)
        if found == self._last:
            return None
        self._last = found
        return found


def all_studies(root: Path) -> StudyWatch[SeenStudy]:
    """Those under the runs' folder ``root``: what a list shows of them."""

    def known(study: Study) -> Known[SeenStudy]:
        def read() -> SeenStudy:
            status = study_status(study)
            return SeenStudy(study, status, _splits(study, status))

        return Known(read, lambda seen: _stamp(study, seen), lambda seen: seen.live)

    return StudyWatch(lambda: list_studies(root), known)


def one_study(study: Study) -> StudyWatch[SeenReport]:
    """One, with its report."""

    def known(study: Study) -> Known[SeenReport]:
        reader = ReportReader(study)

        def read() -> SeenReport:
            status = study_status(study)
            return SeenReport(study, status, _splits(study, status), reader.read(status))

        return Known(read, lambda seen: _stamp(study, seen), lambda seen: seen.live)

    return StudyWatch(lambda: [study], known)


def _splits(study: Study, status: StudyStatus) -> tuple[bool | None, ...]:
    runs = [cell.run and Run(study.runs_root / cell.run.id) for cell in status.cells]
    return tuple(was_split(run) if run else None for run in runs)


def _stamp(study: Study, seen: SeenStudy | None) -> dict[Hashable, Hashable]:
    paths = [study.folder / "plan.json", study.events_path]
    for cell in seen.status.cells if seen else ():
        if cell.run:
            paths += run_files(Run(study.runs_root / cell.run.id))
    return {"alive": study.alive(), **{path: signature(path) for path in paths}}
