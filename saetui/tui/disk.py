"""The disk at arm's length: no key waits for a file, however slow the file system.

Reads go into any thread (``asyncio.to_thread``). Writes go through one thread of their own, in the order in
which they were asked for; what was asked for is written before the workbench ends, by ``q`` or by a hang-up.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_S = 5.0
"""Seconds that the end waits for writes; a file system that hangs keeps nobody longer."""

_jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()  # may be put into from a signal handler
_threads: list[threading.Thread] = []


def write_later(write: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> "Future[T]":
    """Has ``write`` called once all that was asked for before is written."""
    future: Future[T] = Future()

    def job() -> None:
        try:
            future.set_result(write(*arguments, **named))
        except Exception as error:
            future.set_exception(error)

    _jobs.put(job)
    if not _threads:
        _threads.append(threading.Thread(target=_work, name="writer", daemon=True))
        _threads[0].start()
    return future


async def write(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """The same, awaited; it is written also where nobody waits for it any more."""
    return await asyncio.shield(asyncio.wrap_future(write_later(call, *arguments, **named)))


def flush(seconds: float = PATIENCE_S) -> None:
    """Waits, for so long, until all is written that was asked for."""
    if _threads:
        done: Future[Any] = write_later(lambda: None)
        with suppress(TimeoutError):
            done.result(seconds)


def _work() -> None:
    while True:
        _jobs.get()()
