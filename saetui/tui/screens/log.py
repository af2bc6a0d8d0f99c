"""The end of a log file, growing as it grows."""

from collections import deque
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Log, Static

from saetui.tui.key_line import KeyLine
from saetui.tui.screens.polling import PollingScreen
from saetui.visible import visible

_SHOWN = 1 << 18
"""Bytes of a long log that are shown: its end."""


class _Reader:
    """What the file has gained since the last look, as lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset: int | None = None
        self._rest = b""

    def look(self) -> list[str] | None:
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                if self._offset is None or size < self._offset:
                    self._offset, self._rest = max(0, size - _SHOWN), b""
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return None
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        # A progress bar rewrites its line with carriage returns: its last state is what it says.
        texts = [line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace") for line in lines]
        return [visible(text.expandtabs()).replace("·", " ") for text in texts] or None


class LogScreen(PollingScreen[deque[str]]):
    """What the run's process printed. ``end`` follows it again after scrolling up."""

    CSS = """
    LogScreen #log-title { height: 1; text-style: bold; width: 1fr; }
    LogScreen Log { height: 1fr; }
    """
    BINDINGS: ClassVar = [Binding("escape,q,L", "dismiss", "Back")]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._reader = _Reader(path)
        self._coming: deque[str] = deque()
        """Lines read and not shown yet: of two looks that are told of together only one is shown."""

    def look(self) -> deque[str] | None:
        self._coming.extend(self._reader.look() or ())
        return self._coming or None

    def compose(self) -> ComposeResult:
        yield Static(str(self._path), id="log-title", markup=False)
        yield Log(max_lines=10_000)
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(Log).focus()

    def show(self, found: deque[str]) -> None:
        log = self.query_one(Log)
        log.write_lines([found.popleft() for _ in range(len(found))], scroll_end=log.is_vertical_scroll_end)
