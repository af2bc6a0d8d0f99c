"""``flock`` on a file: let go when the file is closed, however its process ends."""

import fcntl
from pathlib import Path
from typing import BinaryIO


def locked(path: Path, *, shared: bool = False) -> BinaryIO:
    """The open file (made where there is none), locked until it is closed; waits for other processes' locks.

    OSError where the file cannot be opened or its file system has no locks.
    """
    return _flock(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_locked(path: Path) -> BinaryIO | None:
    """As ``locked``, but None at once where another process's lock is in the way."""
    try:
        return _flock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def _flock(path: Path, how: int) -> BinaryIO:
    file = path.open("ab")
    try:
        fcntl.flock(file, how)
    except OSError:
        file.close()
        raise
    return file
