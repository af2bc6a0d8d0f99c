"""When a cache's folder was last used: what makes room is what was used longest ago."""

import os
import time
from collections.abc import Iterable
from pathlib import Path


def mark_used(folder: Path) -> None:
    """Notes that ``folder`` is used now.

    With the clock's own precision: the kernel dates what it is told to date "now" by its last tick, up to
    some milliseconds ago, so that two folders used one after the other could have one time.
    """
    now = time.time_ns()
    os.utime(folder, ns=(now, now))


def longest_unused_first(folders: Iterable[Path]) -> list[Path]:
    return sorted(folders, key=lambda folder: folder.stat().st_mtime_ns)
