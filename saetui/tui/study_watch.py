"""Where studies stand and what came out, looked at once a second; read anew only where files changed."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from saetui.errors import UserError
from saetui.runs.files import signature
from saetui.runs.store import LIVE, Run
from saetui.studies.report import ReportReader, run_files
from saetui.studies.results import StudyReport
from saetui.studies.status import StudyStatus, study_status
from saetui.studies.store import FOLDER, Study, list_studies


@dataclass(frozen=True)
class SeenStudy:
    """A study as it was last looked at."""

    study: Study
    status: StudyStatus
    report: StudyReport

    @property
    def live(self) -> bool:
        """Whether it changes without its files telling: a process may die in silence."""
        return self.status.state == "running" or bool(self.status.count(*LIVE))

    @property
    def judged(self) -> int:
        return sum(cell.success is not None for cell in self.report.cells)

    @property
    def successes(self) -> int:
        """Cells whose target was split."""
        return sum(bool(cell.success) for cell in self.report.cells)


class _Watched:
    """One study, and the stamps of all files that it is read from."""

    def __init__(self, study: Study) -> None:
        self._reader = ReportReader(study)
        self._stamp: Hashable = None
        self.seen: SeenStudy | None = None

    def look(self) -> None:
        """UserError where its plan is missing or damaged."""
        study = self._reader.study
        stamp = self._now()
        if self.seen and not self.seen.live and stamp == self._stamp:
            return
        status = study_status(study)
        self.seen = SeenStudy(study, status, self._reader.read(status))
        self._stamp = self._now()

    def _now(self) -> Hashable:
        study = self._reader.study
        paths = [study.folder / "plan.json", study.events_path]
        for cell in self.seen.report.cells if self.seen else ():
            if cell.run:
                paths += run_files(Run(study.runs_root / cell.run))
        return study.alive(), *map(signature, paths)


class StudyWatch:
    """All studies under the runs' folder ``root``, or the one called ``name``."""

    def __init__(self, root: Path, name: str = "") -> None:
        self.root, self.name = root, name
        self._known: dict[str, _Watched] = {}
        self._last: tuple[list[SeenStudy], list[str]] | None = None

    def poll(self) -> tuple[list[SeenStudy], list[str]] | None:
        """The studies, and a line for each that cannot be read; None where nothing has changed."""
        studies = list_studies(self.root)
        if self.name:
            studies = [Study(self.root / FOLDER / self.name)]
        self._known = {s.name: self._known.get(s.name) or _Watched(s) for s in studies}
        problems: list[str] = []
        for watched in self._known.values():
            try:
                watched.look()
            except (UserError, OSError) as error:
                watched.seen = None
                problems.append(str(error))
        found = [w.seen for w in self._known.values() if w.seen], problems
        if found == self._last:
            return None
        self._last = found
        return found
