"""The verdicts stored with a run: a judgement by criteria, or a split report. Without torch."""

import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saetui.atomic import write_atomic
from saetui.runs.files import signature
from saetui.runs.store import Run
from saetui.split.judging.review import stored_result

if TYPE_CHECKING:
    from saetui.split.finding.report import SplitReport

REPORT_FILE = "split-report.json"
"""The ``SplitReport`` of a run, in its folder."""


def is_judged(run: Run, report: bool = False) -> bool:
    """Whether there is a verdict; with ``report``, whether the split report is there too."""
    return was_split(run) is not None and (not report or (run.folder / REPORT_FILE).is_file())


def was_split(run: Run) -> bool | None:
    """Whether a run split its target: every expected child found or, where none is expected, by the word of
    the split report; None: no verdict yet. Asked of every run of a study once a second: files that have not
    changed are not read again."""
    if (result := stored_result(run.folder)) and result.children:
        return result.passed == result.children
    path = run.folder / REPORT_FILE
    return _reported_split(path, *signature(path))


@lru_cache(4096)
def _reported_split(path: Path, size: int, changed: int) -> bool | None:
    report = read_report(path.parent) if size else None
    return None if report is None else report.get("kind") == "split"


def read_report(folder: Path) -> dict[str, Any] | None:
    """The split report stored in a run directory, as ``asdict`` gave it; None where there is none."""
    try:
        return json.loads((folder / REPORT_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def store_report(folder: Path, report: "SplitReport") -> None:
    """Stores a split report in a run directory, in place of an earlier one."""
    write_atomic(folder / REPORT_FILE, json.dumps(asdict(report)).encode())
