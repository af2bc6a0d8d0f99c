"""What the file system says of a run's files."""

import errno
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing fails with when there is no room: on the disk, in the quota, under the size limit."""


def signature(path: Path) -> tuple[int, int]:
    """Size and time of change, zeros where there is no file: what has not changed need not be read again,
    and of a list of runs that is looked at every second few have."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
