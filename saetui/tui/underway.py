"""A question that the engine works on for a while, as one line."""

import time
from collections.abc import Callable
from typing import Any

from saetui.quantities import duration
from saetui.tui.run_text import progress_bar

KNOWN_S = 2.0
"""Seconds of progress from which the time left is told, …"""
WORTH_S = 3.0
"""… where there are at least so many left."""


class Underway:
    """Turns the engine's messages (``progress``, a share, and ``message``) into bar, share, words, time."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        """``what`` stands where a message has no words of its own."""
        self._what = what
        self._clock = clock
        self._first: tuple[float, float] | None = None
        self._share = 0.0

    def line(self, message: dict[str, Any]) -> str:
        share = max(0.0, min(1.0, float(message.get("progress") or 0.0)))
        done, rest = progress_bar(share, 20)
        words = str(message.get("message") or self._what)
        return f"{done}{rest} {100 * share:.0f} % {words}{self._left(share)}"

    def _left(self, share: float) -> str:
        now = self._clock()
        if self._first is None or share < self._share:  # another stage has begun
            self._first = (now, share)
        self._share = share
        seconds, gained = now - self._first[0], share - self._first[1]
        if seconds < KNOWN_S or gained <= 0:
            return ""
        left = seconds / gained * (1 - share)
        return f" · about {duration(left)} left" if left >= WORTH_S else ""
