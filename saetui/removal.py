"""Folders that go in one step: whoever looks finds one whole, or does not find it."""

import shutil
from pathlib import Path

_DOOMED = ".removed-"


def remove_whole(folder: Path) -> Path:
    """Renames ``folder`` out of the way and deletes it; the path at which there is something left of it
    where not all of it could be deleted. OSError where it cannot be renamed."""
    doomed = folder.rename(folder.with_name(f"{_DOOMED}{folder.name}"))
    shutil.rmtree(doomed, ignore_errors=True)
    return doomed


def sweep(parent: Path) -> None:
    """Deletes what interrupted removals left in ``parent``."""
    for left in parent.glob(f"{_DOOMED}*"):
        shutil.rmtree(left, ignore_errors=True)
