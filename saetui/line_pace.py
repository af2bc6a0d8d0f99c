"""How often a long job says where it stands, in a log that nobody can take lines back from."""

import time
from collections.abc import Callable

FIRST_LINES, SOON_S, LATER_S = 4, 5.0, 15.0


class LinePace:
    """A line is due after ``first_s``, then, for the first few, every 5 s, and then every 15 s."""

    def __init__(self, first_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + first_s
        self._lines = 0

    def due(self) -> bool:
        """Whether it is time for a line; whoever is told so prints one."""
        now = self._clock()
        if now < self._next:
            return False
        self._lines += 1
        self._next = now + (SOON_S if self._lines < FIRST_LINES else LATER_S)
        return True
