"""What an operation that takes time reports through, and learns from that it was cancelled."""

from collections.abc import Callable

from saetui.engine.traffic import Lane, Traffic


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


class Job:
    """What an operation that takes time is given: a way to report, and to learn that it was cancelled."""

    def __init__(self, traffic: Traffic, report: Callable[[float, str], None], cancelled: Callable[[], bool]):
        self._traffic, self._report, self._cancelled = traffic, report, cancelled

    def progress(self, share: float, message: str) -> None:
        """To be called between steps: lets queries go first. Raises Cancelled."""
        if self._cancelled():
            raise Cancelled
        self._traffic.give_way(Lane.JOB)
        self._report(share, message)

    def tokens(self, what: str) -> Callable[[int, int], None]:
        """A progress callback that counts tokens."""

        def on_progress(done: int, total: int) -> None:
            self.progress(done / max(total, 1), f"{what}: {done:,} of {total:,} tokens")

        return on_progress
