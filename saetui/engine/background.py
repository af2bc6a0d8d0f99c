"""The index passes, behind everything that a person waits for."""

import threading
import traceback
from collections.abc import Callable
from time import monotonic

from saetui.engine.messages import IndexProgress
from saetui.engine.traffic import Lane, Traffic
from saetui.errors import UserError
from saetui.features.graft_index import GraftIndex
from saetui.features.index import FeatureIndex

Index = FeatureIndex | GraftIndex

NOTICE_EVERY = 0.5
"""Seconds between two notices of one index."""


class Background:
    """A thread that advances indexes step by step, the last one added first.

    ``notify`` is told how far each is, ``warn`` gets one line where one cannot go on.
    """

    def __init__(
        self, traffic: Traffic, notify: Callable[[IndexProgress], None], warn: Callable[[str], None]
    ) -> None:
        self._traffic, self._notify, self._warn = traffic, notify, warn
        self._lock = threading.Lock()  # of the two lists; never held during a step, which may be long
        self._indexes: list[Index] = []
        self._then: list[Callable[[], None]] = []
        self._work = threading.Event()
        self._stepped = threading.Condition()
        self._noticed: dict[str, float] = {}
        threading.Thread(target=self._run, name="index", daemon=True).start()

    def add(self, index: Index) -> None:
        with self._lock:
            self._indexes = [index, *self._indexes]
        self._work.set()

    def remove(self, index: Index) -> None:
        """Begins no further step of ``index``; one may still be under way."""
        with self._lock:
            self._indexes = [other for other in self._indexes if other is not index]

    def reads(self, index: Index) -> bool:
        """Whether ``index`` is still advanced: it was added, and neither removed nor given up."""
        with self._lock:
            return any(other is index for other in self._indexes)

    def after_step(self, then: Callable[[], None]) -> None:
        """Calls ``then`` in the thread of the steps, after the one that is under way."""
        with self._lock:
            self._then.append(then)
        self._work.set()

    def wait_for_step(self, timeout: float) -> None:
        """Waits until an index has advanced, or for so many seconds."""
        with self._stepped:
            self._stepped.wait(timeout)

    def progress(self) -> list[IndexProgress]:
        return [_progress(index) for index in self._indexes]

    def _run(self) -> None:
        while True:
            self._traffic.give_way(Lane.BACKGROUND)
            with self._lock:
                then, self._then = self._then, []
                index = next((index for index in self._indexes if _has_work(index)), None)
            for call in then:
                try:
                    call()
                except Exception:  # of one that is being closed: the others go on
                    traceback.print_exc()
            if index is None:
                self._work.wait()
                self._work.clear()
                continue
            self._advance(index)
            with self._stepped:
                self._stepped.notify_all()

    def _advance(self, index: Index) -> None:
        before = index.store.warning
        try:
            index.advance()
        except UserError as error:
            self._give_up(index, str(error))
            return
        except Exception as error:
            traceback.print_exc()
            first = (str(error).strip().splitlines() or [""])[0]
            self._give_up(index, f"{type(error).__name__}: {first}")
            return
        if index.store.warning != before:
            self._warn(index.store.warning)
        if index.complete or monotonic() - self._noticed.get(index.name, 0) > NOTICE_EVERY:
            self._noticed[index.name] = monotonic()
            self._notify(_progress(index))

    def _give_up(self, index: Index, why: str) -> None:
        self.remove(index)
        self._warn(f"the contexts of {index.name} stop at {index.tokens_read} tokens: {why}")


def _has_work(index: Index) -> bool:
    if isinstance(index, GraftIndex):
        return not index.caught_up
    return not index.complete


def _progress(index: Index) -> IndexProgress:
    return IndexProgress(index.name, index.tokens_read, index.wanted, index.complete)
