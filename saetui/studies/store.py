"""The folder of one study, and the folder of all studies.

<runs>/studies/<name>/  study.toml      the file as it was written
                        criteria.toml   its criteria, if it has its own
                        plan.json       every cell, complete: what the file came to for this model
                        events.jsonl    launched, run (cell and run id), attempt, problem, exit
                        study.lock      held as long as the study's process lives
                        control/stop    asks it to leave
                        study.log       what the process printed

Runs lie where all runs lie and know nothing of the study: it knows them, by id.
"""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from saetui.atomic import write_atomic
from saetui.errors import UsageError, UserError
from saetui.runs import lock
from saetui.runs.files import signature
from saetui.runs.store import LIVE, Run
from saetui.runs.tail import read_records
from saetui.setup import Setup
from saetui.split.judging.review import CRITERIA_FILE
from saetui.studies.cells import Cell, recipe_of
from saetui.studies.file import METHODS, StudyFile

FOLDER = "studies"
"""Under the folder of the runs."""


@dataclass(frozen=True)
class Plan:
    """A study made complete. ``kind`` is the runs'; ``setup`` is a ``Setup`` with absolute paths."""

    title: str
    kind: str
    setup: dict[str, Any]
    cells: tuple[Cell, ...]
    v: int = 1

    @property
    def several_targets(self) -> bool:
        """Then the split report is the verdict that all of them share: criteria are about one at most."""
        return len({cell.target for cell in self.cells}) > 1

    @classmethod
    def of(cls, file: StudyFile, setup: Setup, cells: list[Cell]) -> "Plan":
        return cls(file.title, METHODS[file.method][0], setup.to_dict(), tuple(cells))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Plan":
        """ValueError for a format this program does not know."""
        if values.get("v") != 1:
            raise ValueError(f"format {values.get('v')!r} is not known (a newer saetui wrote it?)")
        cells = tuple(Cell(**cell) for cell in values["cells"])
        return cls(values["title"], values["kind"], values["setup"], cells)


@dataclass(frozen=True)
class Study:
    """A study, by its folder; everything about it is read from there when asked for."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def runs_root(self) -> Path:
        return self.folder.parent.parent

    @property
    def events_path(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def lock_path(self) -> Path:
        return self.folder / "study.lock"

    @property
    def log_path(self) -> Path:
        return self.folder / "study.log"

    @property
    def stop_path(self) -> Path:
        return self.folder / "control" / "stop"

    @property
    def criteria(self) -> Path | None:
        path = self.folder / CRITERIA_FILE
        return path if path.is_file() else None

    @property
    def text(self) -> str:
        """The study's file; empty where it is gone."""
        try:
            return (self.folder / "study.toml").read_text(encoding="utf-8")
        except OSError:
            return ""

    @property
    def plan(self) -> Plan:
        """UserError where it is missing or damaged."""
        path = self.folder / "plan.json"
        return _plan(path, *signature(path))

    def alive(self) -> bool:
        """Whether a process works for the study. Where the file system has no locks nobody can tell: then
        no, and each run's own liveness keeps two processes from doing one thing."""
        return bool(lock.is_held(self.lock_path))

    def run_ids(self) -> dict[str, str]:
        """The last run that was made for each cell."""
        return {r["cell"]: r["run"] for r in read_records(self.events_path) if r.get("kind") == "run"}

    def runs(self) -> dict[str, Run]:
        """The run of every cell that has one: there still, and of the recipe that the plan has now."""
        plan, ids = self.plan, self.run_ids()
        runs = {cell.id: Run(self.runs_root / ids[cell.id]) for cell in plan.cells if cell.id in ids}
        return {c.id: runs[c.id] for c in plan.cells if c.id in runs and _carries_out(runs[c.id], c, plan)}

    def life(self) -> "Life":
        """What the study's latest process has done so far."""
        records = read_records(self.events_path)
        last = max((i for i, r in enumerate(records) if r.get("kind") == "launched"), default=0)
        return Life(
            attempted=frozenset(r["cell"] for r in records[last:] if r.get("kind") == "attempt"),
            problems={r["cell"]: r["message"] for r in records[last:] if r.get("kind") == "problem"},
        )


@dataclass(frozen=True)
class Life:
    """``attempted``: cells whose run it has launched or found at work; ``problems``: what went wrong with a
    cell outside its run, a line each."""

    attempted: frozenset[str]
    problems: dict[str, str]


def _carries_out(run: Run, cell: Cell, plan: Plan) -> bool:
    """Whether a run is one of the cell, as the plan has it; on which device it ran does not matter."""
    try:
        manifest = run.manifest
        if manifest.kind != plan.kind:
            return False
        same_setup = manifest.setup | {"device": ""} == plan.setup | {"device": ""}
        return same_setup and recipe_of(plan.kind, manifest.recipe) == recipe_of(plan.kind, cell.recipe)
    except UserError:
        return False


@lru_cache(64)
def _plan(path: Path, size: int, changed: int) -> Plan:
    try:
        return Plan.from_dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path.parent} is not a study: it has no {path.name}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def save_study(study: Study, file: StudyFile, plan: Plan) -> None:
    """Makes the study's folder, or brings it up to ``plan``; runs of cells that are as they were are kept.

    UserError while a process works for it and another plan, or where the folder cannot be written; UsageError
    where the criteria cannot be read.
    """
    data = json.dumps(asdict(plan), indent=1).encode() + b"\n"
    try:
        criteria = file.criteria.read_bytes() if file.criteria else None
    except OSError as error:
        raise UsageError(f"{file.source}: cannot read criteria {file.criteria}: {error.strerror}") from None
    path = study.folder / "plan.json"
    if study.alive():
        if path.read_bytes() == data:
            return
        raise UserError(
            f"{study.name} is at work with another plan: `saetui study stop {study.name}`, or --name this one"
        )
    try:
        study.stop_path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(study.folder / "study.toml", file.text.encode())
        if criteria is not None:
            write_atomic(study.folder / CRITERIA_FILE, criteria)
        write_atomic(path, data)
    except OSError as error:
        raise UserError(
            f"no study can be made in {study.folder}: {error.strerror}; SAETUI_RUNS names another place"
        ) from None


def list_studies(root: Path) -> list[Study]:
    """The studies in the runs' folder ``root``, by name."""
    return [Study(path.parent) for path in sorted((root / FOLDER).glob("*/plan.json"))]


def find_study(root: Path, name: str) -> Study:
    """The study whose name is ``name``, begins with it, or is that of a file. UsageError where none or
    several are."""
    studies = list_studies(root)
    names = (name, Path(name).stem)
    fitting = [s for s in studies if s.name in names] or [s for s in studies if s.name.startswith(names)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise UsageError(f"no study {name!r} in {root / FOLDER}: `saetui study list` lists them")
    raise UsageError(f"{name!r} fits {len(fitting)} studies: {', '.join(s.name for s in fitting)}")


def live_runs(study: Study) -> list[Run]:
    """The study's runs that a process works for."""
    return [run for run in study.runs().values() if run.state() in LIVE]
