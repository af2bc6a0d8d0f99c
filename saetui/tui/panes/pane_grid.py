"""How the panes stand: side by side, as many as there is room for, or one at a time behind tabs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from saetui.tui.panes.pane import Pane

WIDE = (180, 50)
"""Columns and lines of the terminal from which all panes stand side by side."""
SMALL = (100, 30)
"""Columns or lines below which one pane is shown at a time, the others behind tabs."""


class PaneGrid(Vertical):
    """``columns`` of panes, numbered from 1 in that order; the last column is only seen beside the first
    pair of panes where the terminal is not wide. Exactly one pane is ``active``."""

    zoomed: reactive[bool] = reactive(False, init=False, repaint=False)
    active: reactive[int] = reactive(1, init=False, repaint=False)

    class Changed(Message):
        """Another pane is active, or the zoom came or went."""

    def __init__(self, columns: Sequence[Sequence[Pane]], active: int, zoomed: bool) -> None:
        super().__init__(id="grid")
        self._columns = columns
        self.panes: tuple[Pane, ...] = tuple(pane for column in columns for pane in column)
        self._arrangement: tuple[bool, set[int]] | None = None
        self.set_reactive(PaneGrid.zoomed, zoomed)
        self.set_reactive(PaneGrid.active, active)

    def compose(self) -> ComposeResult:
        yield Static("", id="tabs")
        with Horizontal(id="panes"):
            for column in self._columns:
                with Vertical():
                    yield from column

    def on_mount(self) -> None:
        self.show_panes()

    @property
    def active_pane(self) -> Pane:
        return self.panes[self.active - 1]

    def go_to(self, number: int) -> None:
        """Makes a pane active and puts the focus into it; numbers go round at both ends."""
        self.active = (number - 1) % len(self.panes) + 1
        self.active_pane.focus_main()

    def on_pane_activated(self, message: Pane.Activated) -> None:
        # The focus may have moved on since: a message about where it was must not pull it back.
        focused = self.screen.focused
        if focused is not None and message.pane in focused.ancestors_with_self:
            self.active = message.pane.NUMBER

    def watch_active(self) -> None:
        self.show_panes()
        self.post_message(self.Changed())

    def watch_zoomed(self) -> None:
        self.show_panes()
        self.post_message(self.Changed())

    def on_resize(self, event: events.Resize) -> None:
        self.show_panes()

    def show_panes(self) -> None:
        """Shows the panes for which there is room; a pane that appears loads what it missed."""
        if not self.is_mounted:
            return
        width, height = self.app.size
        single = self.zoomed or width < SMALL[0] or height < SMALL[1]
        if single:
            shown = {self.active}
        elif width >= WIDE[0] and height >= WIDE[1]:
            shown = {1, 2, 3, 4, 5}
        else:
            shown = {1, 2, 5} if self.active == 5 else {1, 2, 3, 4}
        for pane in self.panes:
            pane.mark(self.active == pane.NUMBER)
        if (single, shown) == self._arrangement:
            return
        self._arrangement = (single, shown)
        with self.app.batch_update():
            for pane in self.panes:
                pane.display = pane.NUMBER in shown
                if pane.display:
                    pane.set_class(single, "-alone")
            for column in self.query("#panes > Vertical"):
                column.display = any(pane.display for pane in column.children)
            tabs = self.query_one("#tabs", Static)
            tabs.display = single
            if single:
                tabs.update(self._tabs())
        for pane in self.panes:
            pane.freshen()

    def _tabs(self) -> Text:
        tabs = Text()
        for pane in self.panes:
            here = self.active == pane.NUMBER
            title = f"{pane.NUMBER} {pane.TITLE}"
            tabs.append(
                f"[{title}]" if here else f" {title} ",
                Style(reverse=here, meta={"@click": f"screen.pane({pane.NUMBER})"}),
            )
            tabs.append(" ")
        return tabs
