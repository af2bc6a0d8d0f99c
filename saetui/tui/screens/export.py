"""Exporting from where one looks: a list, the screen, or the command that shows the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from saetui.tui.exporting import HasRecords, short_path
from saetui.tui.panes.pane_table import PaneTable
from saetui.tui.widgets.table import Column


@dataclass(frozen=True)
class Export:
    """What was chosen. ``form``: ``csv``, ``json`` or ``md`` (of ``widget``, called ``name``), ``svg`` or
    ``txt`` (of the screen), or ``command``."""

    form: str
    name: str = ""
    widget: HasRecords | None = None


class ExportScreen(ModalScreen[Export | None]):
    """Dismisses with what is to be exported; nothing is written here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,e", "dismiss(None)", "Close"),
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("c", "records('csv')"),
        Binding("o", "records('json')"),
        Binding("m", "records('md')"),
        Binding("s", "whole('svg')"),
        Binding("t", "whole('txt')"),
        Binding("C", "whole('command')"),
    ]

    def __init__(self, lists: list[tuple[str, HasRecords]], commands: list[str]) -> None:
        super().__init__()
        self._lists, self._commands = lists, commands

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="export") as body:
            body.border_title = "Export"
            body.border_subtitle = f"into {_here()} · esc closes"
            if self._lists:
                yield PaneTable(
                    [
                        Column("list", lambda one: one[0], 20, grow=True),
                        Column("lines", lambda one: f"{len(one[1].records()):,}", 9, right=True),
                    ],
                    key=lambda one: id(one[1]),
                    empty="",
                )
                yield Static("c CSV   o JSON   m Markdown: all lines of the list (↑↓)", markup=False)
            yield Static("s SVG   t text: the screen as it is", markup=False)
            if self._commands:
                yield Static("C copies the same as a command:", markup=False)
                yield Static("\n".join(self._commands), id="twin", markup=False)

    def on_mount(self) -> None:
        for table in self.query(PaneTable):
            table.can_focus = False
            table.styles.height = min(len(self._lists), 6) + 1
            table.fill(self._lists)

    def action_move(self, by: int) -> None:
        for table in self.query(PaneTable):
            table.action_move(by)

    def on_table_selected(self, message: PaneTable.Selected) -> None:
        message.stop()  # a click chooses the list; the key says what becomes of it

    def action_records(self, form: str) -> None:
        for table in self.query(PaneTable):
            name, widget = self._lists[table.rows.index(table.highlighted)]
            self.dismiss(Export(form, name, widget))

    def action_whole(self, form: str) -> None:
        if form != "command" or self._commands:
            self.dismiss(Export(form))


def _here() -> str:
    """The folder that files go to, as a person writes it."""
    try:
        return short_path(Path.cwd())
    except OSError:  # it is gone: the home folder takes them
        return "~"
