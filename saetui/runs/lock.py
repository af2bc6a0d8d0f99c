"""Who is alive, told by ``flock``: the kernel lets go of a lock the moment its process is gone, however it
went, so nothing stale is ever left behind, as a pid file would be.

A lock lives with the open file description: a process started with the descriptor inherits the lock, and
closing one's own copy does not drop it. That is how a launcher hands a run to its worker with no moment
in between at which the run looks dead.
"""

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What ``flock`` fails with on file systems that have none (some NFS mounts, FUSE)."""


def take(path: Path, patience_s: float = 1.0) -> int | None:
    """Takes the lock, for as long as the descriptor given back (closed on exec) is open somewhere.

    None where another process holds it. It is tried for ``patience_s``, because those who ask
    ``is_held`` hold it, shared, for an instant. Where the file system has no locks the descriptor comes
    back without one: then liveness is told by the heartbeat alone.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            os.close(fd)
            return None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                os.close(fd)
                raise
        return fd


def is_held(path: Path) -> bool | None:
    """Whether some process holds the lock; None where the file system cannot say."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    finally:
        os.close(fd)
    return False


def keep_from_forks(fd: int) -> None:
    """Closes ``fd`` in forked children (data loaders), which would keep the lock past their parent's
    death. For descriptors that stay open as long as the process lives."""

    def close() -> None:
        with contextlib.suppress(OSError):
            os.close(fd)

    os.register_at_fork(after_in_child=close)
