"""Making room in a cache of folders: how large they are, and which was used longest ago.

Several processes make room at once, so that any folder or file may be gone by the time it is looked at.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def mark_used(folder: Path) -> None:
    """Notes that ``folder`` is used now.

    With the clock's own precision: the kernel dates what it is told to date "now" by its last tick, up to
    some milliseconds ago, so that two folders used one after the other could have one time.
    """
    now = time.time_ns()
    os.utime(folder, ns=(now, now))


def longest_unused_first(folders: Iterable[Path]) -> list[Path]:
    """Those of ``folders`` that are still there."""
    used: dict[Path, int] = {}
    for folder in folders:
        with suppress(FileNotFoundError):
            used[folder] = folder.stat().st_mtime_ns
    return sorted(used, key=lambda folder: used[folder])


def bytes_in(folder: Path) -> int:
    """Of all files in ``folder`` and below, as far as they are still there."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.stat(f"{parent}/{name}").st_size  # noqa: PTH116  (a third of the time of a Path)
    return size
