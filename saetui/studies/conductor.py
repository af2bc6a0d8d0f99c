"""``python -m saetui.studies.conductor STUDY_DIR``: the process of one study.

It launches the runs that are missing or unfinished, no more at a time than the devices take, and judges each
that finishes. It may be killed at any moment: runs are processes of their own and go on, and the next one
finds out from the folders what is left. A cell gets one attempt in the life of a conductor.
"""

import argparse
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from saetui.errors import UserError
from saetui.runs import lock
from saetui.runs.journal import Journal
from saetui.runs.launcher import launch
from saetui.runs.queue import devices
from saetui.runs.store import LIVE, Run, create_run
from saetui.setup import Setup
from saetui.split.judging.review import CRITERIA_FILE
from saetui.studies.cells import Cell, recipe_of
from saetui.studies.judging import judge_cell
from saetui.studies.launcher import CONDUCTOR, ask_to_stop
from saetui.studies.store import Study
from saetui.studies.verdicts import is_judged

if TYPE_CHECKING:
    from saetui.lm.base import LanguageModel

_POLL_S = 0.25


def by_turns(cells: Sequence[Cell], waiting: Sequence[Cell]) -> list[Cell]:
    """The order in which ``waiting`` cells are carried out: the first seed of every row and target, then
    the second of every one, so that what there is at any time compares."""
    turns: dict[str, int] = {}
    seen: Counter[tuple[str, int]] = Counter()
    for cell in cells:
        turns[cell.id] = seen[cell.row, cell.target]
        seen[cell.row, cell.target] += 1
    return sorted(waiting, key=lambda cell: turns[cell.id])


class _Conductor:
    def __init__(self, study: Study, at_once: int, events: Journal) -> None:
        self.study, self.at_once, self.events = study, at_once, events
        self.plan = study.plan
        self.devices = devices(self.plan.setup["device"])
        self.runs = study.runs()
        self.live: dict[str, Run] = {}
        self.waiting: list[Cell] = []
        self.unjudged: list[Cell] = []
        self._lm: LanguageModel | None = None
        for cell in self.plan.cells:
            run = self.runs.get(cell.id)
            state = run.state() if run else None
            if run and state in LIVE:
                self.live[cell.id] = run
                events.append(kind="attempt", cell=cell.id)  # one that went on by itself counts as ours
            elif run and state == "finished":
                self.unjudged += [] if is_judged(run, self.plan.several_targets) else [cell]
            else:
                self.waiting.append(cell)
        self.waiting = by_turns(self.plan.cells, self.waiting)

    def work(self) -> None:
        while self.waiting or self.live or self.unjudged:
            if self.study.stop_path.exists():
                self.waiting.clear()
                self.unjudged.clear()
                for run in self.live.values():
                    ask_to_stop(run)
            self._collect()
            self._launch()
            if self.unjudged:
                self._judge(self.unjudged.pop(0))
            elif self.live:
                time.sleep(_POLL_S)

    def _collect(self) -> None:
        for cell in self.plan.cells:
            if cell.id in self.live and (state := self.live[cell.id].state()) not in LIVE:
                del self.live[cell.id]
                if state == "finished":
                    self.unjudged.append(cell)

    def _launch(self) -> None:
        for cell in list(self.waiting):
            run = self.runs.get(cell.id)
            if run and not run.folder.is_dir():
                run = None  # deleted while it waited for its turn
            device = run.manifest.setup["device"] if run else self._free_device()
            if device is None or self._on(device) >= self.at_once:
                continue
            self.waiting.remove(cell)
            try:
                run = run or self._make(cell, device)
                launch(run, self.at_once)
                self.events.append(kind="attempt", cell=cell.id)
                self.live[cell.id] = run
            except UserError as error:
                self._problem(cell, str(error))

    def _make(self, cell: Cell, device: str) -> Run:
        setup = Setup.from_dict(self.plan.setup | {"device": device})
        recipe = recipe_of(self.plan.kind, cell.recipe)
        run = create_run(self.study.runs_root, self.plan.kind, setup, recipe, f"{self.study.name}: {cell.id}")
        if self.study.criteria:
            shutil.copyfile(self.study.criteria, run.folder / CRITERIA_FILE)
        self.events.append(kind="run", cell=cell.id, run=run.id)
        self.events.sync()
        self.runs[cell.id] = run
        return run

    def _on(self, device: str) -> int:
        return sum(run.manifest.setup["device"] == device for run in self.live.values())

    def _free_device(self) -> str | None:
        least = min(self.devices, key=self._on)
        return least if self._on(least) < self.at_once else None

    def _judge(self, cell: Cell) -> None:
        try:
            self._lm = judge_cell(self.runs[cell.id], self._lm, report=self.plan.several_targets)
        except UserError as error:
            self._problem(cell, f"cannot be judged: {error}")
        except Exception as error:
            traceback.print_exc()
            self._problem(cell, f"cannot be judged: {type(error).__name__}; the traceback is in study.log")

    def _problem(self, cell: Cell, message: str) -> None:
        self.events.append(kind="problem", cell=cell.id, message=message)


def main(arguments: list[str] | None = None) -> int:
    """Works for one study until nothing is left that it could do."""
    parser = argparse.ArgumentParser(prog=f"python -m {CONDUCTOR}")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at-once", type=int, default=1, help="runs on one device")
    parser.add_argument("--lock-fd", type=int, required=True, help="descriptor of the study's lock")
    options = parser.parse_args(arguments)
    os.set_inheritable(options.lock_fd, False)
    lock.keep_from_forks(options.lock_fd)
    study = Study(options.folder)
    with Journal(study.events_path) as events:
        _Conductor(study, options.at_once, events).work()
        events.append(kind="exit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
