"""Choosing the runs that are laid over one another."""

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from saetui.runs.status import summary
from saetui.runs.store import Run
from saetui.tui.widgets.palette import COUNT
from saetui.tui.widgets.table import Column, Table

MOST = COUNT - 1
"""Runs that can be laid over another one at once: one for each colour that is left."""


class OverlayScreen(ModalScreen[list[Run] | None]):
    """Answers the runs chosen; None where the choice was left as it was."""

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

    def __init__(self, runs: list[Run], chosen: Iterable[str], most: int = MOST) -> None:
        super().__init__()
        self._runs = runs
        self._chosen = set(chosen)
        self._most = most

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Lay over"
            yield Table[Run](
                [
                    Column("", lambda run: "[x]" if run.id in self._chosen else "[ ]", 3),
                    Column("run", lambda run: run.id, 20),
                    Column("recipe", _recipe, 20, grow=True),
                ],
                key=lambda run: run.id,
            )
            yield Static("space choose   enter show   escape leave as it was   / filter", id="overlay-keys")

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.fill(self._runs)
        table.focus()

    def action_choose(self) -> None:
        table = self.query_one(Table)
        run = table.highlighted
        if run is None:
            return
        if run.id in self._chosen:
            self._chosen.remove(run.id)
        elif len(self._chosen) >= self._most:
            self.notify(f"At most {self._most} runs can be told apart.")
        else:
            self._chosen.add(run.id)
        table.fill(self._runs)

    def action_done(self) -> None:
        self.dismiss([run for run in self._runs if run.id in self._chosen])


def _recipe(run: Run) -> str:
    manifest = run.manifest
    return " · ".join(filter(None, (manifest.note, summary(manifest.kind, manifest.recipe))))
