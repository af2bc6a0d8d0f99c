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
from saetui.tui.known import Known


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


@dataclass(frozen=True)
class SeenStudies:
    """``problems``: a line for each study that cannot be read."""

    studies: list[SeenStudy]
    problems: list[str]


def _known(study: Study) -> Known[SeenStudy]:
    """Read by ``ReportReader``. UserError where its plan is missing or damaged."""
    reader = ReportReader(study)

    def read() -> SeenStudy:
        status = study_status(study)
        return SeenStudy(study, status, reader.read(status))

    def stamp(seen: SeenStudy | None) -> dict[Hashable, Hashable]:
        paths = [study.folder / "plan.json", study.events_path]
        for cell in seen.report.cells if seen else ():
            if cell.run:
                paths += run_files(Run(study.runs_root / cell.run))
        return {"alive": study.alive(), **{path: signature(path) for path in paths}}

    return Known(read, stamp, lambda seen: seen.live)


class StudyWatch:
    """All studies under the runs' folder ``root``, or the one called ``name``."""

    def __init__(self, root: Path, name: str = "") -> None:
        self.root, self.name = root, name
        self._known: dict[str, Known[SeenStudy]] = {}
        self._last: SeenStudies | None = None

    def poll(self) -> SeenStudies | None:
        """None where nothing has changed. OSError where the folder cannot be read."""
        studies = [Study(self.root / FOLDER / self.name)] if self.name else list_studies(self.root)
        self._known = {s.name: self._known.get(s.name) or _known(s) for s in studies}
        seen: list[SeenStudy] = []
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
