"""Who goes first in the engine: a person's question, then work that they wait for, then a census, then the
index."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Lane(IntEnum):
    """Lower goes first."""

    QUERY = 0
    JOB = 1
    CENSUS = 2
    """Minutes of work that goes on while the person does something else."""
    BACKGROUND = 3


class Traffic:
    """Threads of a slower lane wait, between two of their steps, until the faster lanes are empty."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._busy = [0] * len(Lane)

    @contextmanager
    def on(self, lane: Lane) -> Iterator[None]:
        """Counts as on the lane, so that slower ones give way."""
        with self._condition:
            self._busy[lane] += 1
        try:
            yield
        finally:
            with self._condition:
                self._busy[lane] -= 1
                self._condition.notify_all()

    def give_way(self, lane: Lane) -> None:
        """Returns when no faster lane is busy; a step that follows should take some tens of milliseconds."""
        with self._condition:
            self._condition.wait_for(lambda: not any(self._busy[:lane]))
