"""The verdict on a cell's run: by the criteria for its target or, without any, by the split report."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saetui.atomic import write_atomic
from saetui.runs.store import Run
from saetui.split.review import read_review, store_judgement

if TYPE_CHECKING:
    from saetui.lm.base import LanguageModel
    from saetui.split.report import SplitReport

REPORT_FILE = "split-report.json"
"""The ``SplitReport`` of a run, in its folder."""


def is_judged(run: Run) -> bool:
    return read_review(run.folder).judgement is not None or (run.folder / REPORT_FILE).is_file()


def read_report(folder: Path) -> dict[str, Any] | None:
    """The split report stored in a run directory, as ``asdict`` gave it; None where there is none."""
    try:
        return json.loads((folder / REPORT_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def store_report(folder: Path, report: "SplitReport") -> None:
    """Stores a split report in a run directory, in place of an earlier one."""
    write_atomic(folder / REPORT_FILE, json.dumps(asdict(report)).encode())


def judge_cell(run: Run, lm: "LanguageModel | None") -> "LanguageModel":
    """Judges a finished run and stores the verdict in it. ``lm``: the language model of its setup, where it
    is open; gives it back, to be used again. Raises as ``judge`` and ``split_report``."""
    from saetui.loading import load_lm
    from saetui.split.outcome import criteria_for, judge_run, report_run, setup_of

    lm = lm or load_lm(setup_of(run))
    if criteria := criteria_for(run):
        store_judgement(run.folder, judge_run(run, criteria, lm=lm))
    else:
        store_report(run.folder, report_run(run, lm=lm))
    return lm
