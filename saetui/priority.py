"""Which process waits for which where cores are few: runs for the engine, the engine for the screen."""

import os
from contextlib import suppress
from pathlib import Path

ENGINE = 5
RUN = 10


def give_way(steps: int) -> None:
    """Raises this process' niceness by ``steps``; the threads and processes that it starts have it too.

    Linux may weigh whole sessions against each other, and niceness then counts only within one: that of a
    session which this process leads is set as well (sched(7), "The autogroup feature").
    """
    niceness = os.nice(steps)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # no Linux, or no such weighing
            Path("/proc/self/autogroup").write_text(f"{niceness}\n")
