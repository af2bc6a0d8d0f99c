"""Where a study stands: every cell in a record, and how long the rest will take."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Literal

from saetui.quantities import duration
from saetui.runs.cost import wall_seconds
from saetui.runs.files import signature
from saetui.runs.status import RunStatus, status
from saetui.runs.store import LIVE, Run, State
from saetui.runs.tail import read_records
from saetui.studies.cells import Cell
from saetui.studies.store import Study
from saetui.studies.verdicts import is_judged

CellState = Literal["waiting", "judging"] | State
"""That of its run; ``waiting``: it has none yet, or one that ended early and is to go on; ``judging``: its
run is finished, its verdict is to come."""

_ENDED_EARLY = ("paused", "failed", "stopped", "crashed")

StudyState = Literal["running", "finished", "unfinished"]


@dataclass(frozen=True)
class CellStatus:
    cell: Cell
    state: CellState
    run: RunStatus | None
    message: str | None
    """What went wrong: one line."""


@dataclass(frozen=True)
class StudyStatus:
    """``running``: a process works for the study. ``eta_s``: seconds until all cells are finished at the
    pace of those that are; None where nothing is known yet or no process works for it."""

    name: str
    title: str
    state: StudyState
    cells: list[CellStatus]
    eta_s: float | None

    def count(self, *states: CellState) -> int:
        return sum(cell.state in states for cell in self.cells)

    @property
    def finished(self) -> int:
        return self.count("finished")

    @property
    def failed(self) -> list[CellStatus]:
        """Cells that need a person: their run failed or crashed, or could not be made or judged."""
        return [c for c in self.cells if c.state in ("failed", "crashed") or c.message]


def study_status(study: Study) -> StudyStatus:
    """Where ``study`` stands now. UserError where its plan is missing or damaged."""
    alive, runs, life = study.alive(), study.runs(), study.life()
    several = study.plan.several_targets
    cells: list[CellStatus] = []
    paces: list[float] = []
    for cell in study.plan.cells:
        problem = life.problems.get(cell.id)
        if (run := runs.get(cell.id)) is None:
            cells.append(CellStatus(cell, "waiting", None, problem))
            continue
        now = status(run)
        if alive and problem is None and now.state == "finished" and not is_judged(run, several):
            cells.append(CellStatus(cell, "judging", now, None))
        elif alive and problem is None and now.state in _ENDED_EARLY and cell.id not in life.attempted:
            cells.append(CellStatus(cell, "waiting", now, None))
        else:
            cells.append(CellStatus(cell, now.state, now, problem or now.message))
        if now.state == "finished" and now.tokens_total and (seconds := _seconds(run)):
            paces.append(seconds / now.tokens_total)
    whole = all(cell.state == "finished" for cell in cells)
    return StudyStatus(
        name=study.name,
        title=study.plan.title,
        state="running" if alive else "finished" if whole else "unfinished",
        cells=cells,
        eta_s=_eta(cells, median(paces) if paces else None) if alive else None,
    )


def _seconds(run: Run) -> float:
    """In which a finished run had its device."""
    return _wall_seconds(run.events_path, *signature(run.events_path))


@lru_cache(4096)
def _wall_seconds(events: Path, size: int, changed: int) -> float:
    return wall_seconds(read_records(events))


def _eta(cells: list[CellStatus], pace: float | None) -> float | None:
    """``pace``: seconds a token of finished runs."""
    live = [cell.run for cell in cells if cell.run and cell.state in LIVE]
    if not live:
        return None
    left = 0.0
    for cell in cells:
        run = cell.run
        if run and run.eta_s is not None:
            left += run.eta_s
        elif cell.state == "waiting" or cell.state in LIVE:
            if pace is None:
                return None
            recipe = cell.cell.recipe
            left += pace * (recipe.get("tokens") or recipe["steps"] * recipe["batch_size"])
    return left / len(live)


def summary(status: StudyStatus) -> str:
    """``7 of 12 finished · 2 running · 1 failed · ETA 12m03``."""
    parts = [f"{status.finished} of {len(status.cells)} finished"]
    for state in ("running", "queued", "judging", "paused", "stopped", "failed", "crashed", "waiting"):
        if count := status.count(state):
            parts.append(f"{count} {state}")
    if status.eta_s is not None:
        parts.append(f"ETA {duration(status.eta_s)}")
    return " · ".join(parts)
