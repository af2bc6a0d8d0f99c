"""How far a long reading of text is, on stderr: on a terminal in one line, else in a line now and then."""

import sys
import time
from collections.abc import Callable

from saetui.commands.live_line import LiveLine
from saetui.line_pace import LinePace
from saetui.quantities import duration

_REDRAW_S = 0.2
_KNOWN_S = 2.0
"""Seconds from which the time left is told."""


class Reading:
    """Nothing is said of what is done at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._line = LiveLine(sys.stderr)
        self._clock = clock
        self._pace = LinePace(first_s=5.0, clock=clock)
        self._drawn_at = clock()
        self._begun: tuple[float, float] | None = None
        """When ``share`` was told first, and what."""

    def __call__(self, done: int, total: int) -> None:
        """Tokens read, and wanted at most."""
        self.say(f"reading the corpus: {done:,} of {total:,} tokens")

    def share(self, what: str, done: float, total: int) -> None:
        """``what`` with the whole ones done and all in its braces, and the time left; ``done`` counts the one
        under way in part."""
        now = self._clock()
        self._begun = self._begun or (now, done)
        since, before = self._begun
        left = ""
        if now - since >= _KNOWN_S and done > before:
            left = f", about {duration((now - since) / (done - before) * (total - done))} to go"
        self.say(f"{what.format(int(done), total)}{left}")

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
