"""What an operation that takes time reports through, and learns from that it was cancelled."""

from collections.abc import Callable
from typing import Any

from saetui.engine.traffic import Lane, Traffic


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


class Job:
    """What an operation that takes time is given: a way to report, and to learn that it was cancelled."""

    def __init__(
        self,
        traffic: Traffic,
        report: Callable[[float, str, Any], None],
        cancelled: Callable[[], bool],
        lane: Lane = Lane.JOB,
    ) -> None:
        self._traffic, self._report, self._cancelled, self.lane = traffic, report, cancelled, lane

    def progress(self, share: float, message: str, partial: Any = None) -> None:
        """To be called between steps: lets what is more urgent go first. ``partial``: results that there are
        already. Raises Cancelled."""
        if self._cancelled():
            raise Cancelled
        self._traffic.give_way(self.lane)
        self._report(share, message, partial)

    def tokens(self, what: str) -> Callable[[int, int], None]:
        """A progress callback that counts tokens."""

        def on_progress(done: int, total: int) -> None:
            self.progress(done / max(total, 1), f"{what}: {done:,} of {total:,} tokens")

        return on_progress
