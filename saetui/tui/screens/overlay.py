"""Choosing the runs that are laid over one another."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from saetui.runs.status import summary
from saetui.runs.store import Run
from saetui.tui.marked_table import MarkedTable, mark_column
from saetui.tui.marks import Marks
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.table import Column


class OverlayScreen(ModalScreen[Marks | None]):
    """Answers the marks as they are to be, ``marks`` untouched; None where they are left as they were."""

    DEFAULT_CSS = """
    OverlayScreen { align: center middle; }
    OverlayScreen > Vertical {
        width: 100; max-width: 95%; height: 70%; padding: 0 1;
        background: $surface; border: round $primary;
    }
    OverlayScreen #overlay-keys { height: 1; color: $foreground 70%; }
    """
    BINDINGS: ClassVar = [
        Binding("space", "choose", "Choose"),
        Binding("enter", "done", "Show", priority=True),
        Binding("escape,o", "dismiss(None)", "Cancel"),
    ]

    def __init__(self, runs: Sequence[Run], marks: Marks, symbols: Symbols = "braille") -> None:
        super().__init__()
        self._runs = runs
        self._chosen = marks.copy()
        self._symbols: Symbols = symbols

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Lay over"
            yield MarkedTable[Run](
                [
                    mark_column(self._chosen, self._symbols, lambda run: run.id),
                    Column("run", lambda run: run.id, 20),
                    Column("recipe", _recipe, 20, grow=True),
                ],
                key=lambda run: run.id,
            )
            yield Static("space choose   enter show   escape leave as it was   / filter", id="overlay-keys")

    def on_mount(self) -> None:
        table = self.query_one(MarkedTable)
        table.fill(self._runs)
        table.focus()

    def action_choose(self) -> None:
        table = self.query_one(MarkedTable)
        if run := table.highlighted:
            table.toggle(self._chosen, run.id)

    def action_done(self) -> None:
        self.dismiss(self._chosen)


def _recipe(run: Run) -> str:
    manifest = run.manifest
    return " · ".join(filter(None, (manifest.note, summary(manifest.kind, manifest.recipe))))
