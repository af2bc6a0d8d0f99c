"""How far the corpus is read, on stderr: on a terminal in one line, otherwise in a line now and then."""

import sys
import time
from collections.abc import Callable

from saetui.commands.live_line import LiveLine
from saetui.line_pace import LinePace

_REDRAW_S = 0.2


class Reading:
    """Nothing is said of what is done at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._line = LiveLine(sys.stderr)
        self._clock = clock
        self._pace = LinePace(first_s=5.0, clock=clock)
        self._drawn_at = clock()

    def __call__(self, done: int, total: int) -> None:
        """Tokens read, and wanted at most."""
        self.say(f"reading the corpus: {done:,} of {total:,} tokens")

    def say(self, line: str) -> None:
        if not self._line.live:
            if self._pace.due():
                self._line.say(line)
        elif self._clock() - self._drawn_at >= _REDRAW_S:
            self._drawn_at = self._clock()
            self._line.draw(line)

    def end(self) -> None:
        """Leaves nothing of it on a terminal."""
        self._line.draw("")
