"""A screen of what files tell: they are looked at again and again for as long as it is the screen shown."""

from typing import Any, Generic, TypeVar

from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from saetui.errors import UserError
from saetui.tui.poller import Poller

INTERVAL_S = 1.0
"""Seconds between two looks."""

Found = TypeVar("Found")


class Looked(Message):
    """From the polling thread: there is something new to show, or the look failed."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.found = found

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Looked)


class PollingScreen(Screen[None], Generic[Found]):
    """A subclass says what it looks at (``look``) and how that is shown (``show``)."""

    def __init__(self, interval: float = INTERVAL_S) -> None:
        super().__init__()
        self._problem = ""
        self._poller = Poller(self.look, lambda found: self.post_message(Looked(found)), interval)

    def look(self) -> Found | None:
        """In the polling thread: what there is to show, None where nothing is new. A UserError or OSError is
        told, once; anything else is a bug and surfaces as one."""
        raise NotImplementedError

    def show(self, found: Found) -> None:
        """Brings the screen up to date."""
        raise NotImplementedError

    def problem(self, found: Found) -> str:
        """What could not be read though the rest could, in one line that is told once; empty: nothing."""
        return ""

    def look_now(self) -> None:
        """The next look comes at once."""
        self._poller.look_now()

    def say(self, selector: str, line: str) -> None:
        """A line of text; the same one again costs nothing on the wire."""
        shown = self.query_one(selector, Static)
        if str(shown.content) != line:
            shown.update(line)

    def on_mount(self) -> None:
        self._poller.start()

    def on_unmount(self) -> None:
        self._poller.close()

    def on_screen_suspend(self) -> None:
        self._poller.suspend()

    def on_screen_resume(self) -> None:
        self._poller.resume()

    def on_looked(self, message: Looked) -> None:
        found = message.found
        failed = isinstance(found, Exception)
        if failed and not isinstance(found, (UserError, OSError)):
            raise found
        problem = str(found) if failed else self.problem(found)
        if problem and problem != self._problem:  # a file system that is away is so at every look
            self.notify(problem, severity="warning")
        self._problem = problem
        if not failed:
            self.show(found)
