"""A line on a terminal that is kept up to date, with whole lines above it."""

import shutil
from typing import TextIO


class LiveLine:
    """On a terminal ``draw`` replaces the last line, in place; in a pipe it does nothing. ``say`` prints a
    line that stays, above it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.live = stream.isatty()
        self.drawn = ""

    def say(self, line: str) -> None:
        drawn = self.drawn
        self.draw("")
        self._stream.write(line + "\n")
        self.draw(drawn)
        self._stream.flush()

    def draw(self, line: str) -> None:
        if not self.live or line == self.drawn:
            return
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r\x1b[2K{line[:width]}")
        self._stream.flush()
        self.drawn = line

    def close(self) -> None:
        """Leaves the last line standing."""
        if self.drawn:
            self._stream.write("\n")
        self._stream.flush()
