"""Files that are either there and whole, or not there."""

import errno
import os
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing fails with when there is no room: on the disk, in the quota, under the size limit."""


def sync_folder(folder: Path) -> None:
    """Makes creations and renames in ``folder`` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces ``path`` by ``data``: a reader sees the old file or the new one, even after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def signature(path: Path) -> tuple[int, int]:
    """Size and time of change, zeros where there is no file: what has not changed need not be read again,
    and of a list of runs that is looked at every second few have."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
