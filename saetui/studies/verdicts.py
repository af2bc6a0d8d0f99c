"""The verdicts stored with a run: a judgement by criteria, or a split report. Without torch."""

import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saetui.atomic import write_atomic
from saetui.runs.files import signature
from saetui.runs.store import Run
from saetui.runs.tail import read_records
from saetui.split.review import FILE_NAME

if TYPE_CHECKING:
    from saetui.split.report import SplitReport

REPORT_FILE = "split-report.json"
"""The ``SplitReport`` of a run, in its folder."""


def is_judged(run: Run) -> bool:
    """Whether there is a verdict: asked of every run of a study once a second, so not read again for it."""
    path = run.folder / FILE_NAME
    return _holds_judgement(path, *signature(path)) or (run.folder / REPORT_FILE).is_file()


@lru_cache(4096)
def _holds_judgement(path: Path, size: int, changed: int) -> bool:
    return bool(size) and any(record.get("by") == "judge" for record in read_records(path))


def read_report(folder: Path) -> dict[str, Any] | None:
    """The split report stored in a run directory, as ``asdict`` gave it; None where there is none."""
    try:
        return json.loads((folder / REPORT_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def store_report(folder: Path, report: "SplitReport") -> None:
    """Stores a split report in a run directory, in place of an earlier one."""
    write_atomic(folder / REPORT_FILE, json.dumps(asdict(report)).encode())
