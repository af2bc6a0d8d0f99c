"""Looking at files once a second without the screen having to wait for them."""

import threading
from collections.abc import Callable
from typing import Any


class Poller:
    """Calls ``read`` every ``interval`` seconds (None: only when told to) in a thread of its own, and hands
    what it returns, unless None, to ``deliver`` (a widget's ``post_message`` wrapped, say: nothing else
    here touches widgets).
    An exception that ``read`` raises is handed over in the same way, so that it surfaces in the
    application instead of ending this thread in silence.

    Suspended, it does nothing at all: no look, no wake-up.
    """

    def __init__(
        self, read: Callable[[], Any], deliver: Callable[[Any], object], interval: float | None
    ) -> None:
        self._read = read
        self._deliver = deliver
        self._interval = interval
        self._active = threading.Event()
        self._woken = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def start(self) -> None:
        self._active.set()
        self._thread.start()

    def suspend(self) -> None:
        self._active.clear()

    def resume(self) -> None:
        self._active.set()
        self.look_now()

    def look_now(self) -> None:
        """The next look comes at once."""
        self._woken.set()

    def close(self) -> None:
        """Ends the thread after the look that it may be at; does not wait for it."""
        self._closed = True
        self._active.set()
        self._woken.set()

    def _run(self) -> None:
        while True:
            self._active.wait()
            if self._closed:
                return
            self._woken.clear()
            try:
                found = self._read()
            except Exception as error:
                found = error
            if found is not None and not self._closed:
                self._deliver(found)
            self._woken.wait(self._interval)
