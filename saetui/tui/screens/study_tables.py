"""What a study came to, table by table: what each axis does, what the filter buys, where children fail."""

from __future__ import annotations

import re
from typing import ClassVar

from textual.app import ComposeResult
from textual.widgets import Static

from saetui.reports.document import Table as TextTable
from saetui.reports.study_tables import CELLS_TITLE, tables
from saetui.studies.store import Study
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.screens.of_study import OfStudyScreen
from saetui.tui.screens.polling import INTERVAL_S
from saetui.tui.study_watch import SeenReport, SeenStudies
from saetui.tui.widgets.table import Column, Table

Cells = tuple[str, ...]
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


class StudyTablesScreen(OfStudyScreen):
    """One table at a time. Where it is wider than the screen its last columns go, and the line under it has
    the row under the cursor in full."""

    BINDINGS: ClassVar = bindings("study tables")
    CSS = """
    StudyTablesScreen #tables-title { height: 1; text-style: bold; }
    StudyTablesScreen #tables-row { height: auto; max-height: 4; }
    StudyTablesScreen #tables-note { height: auto; max-height: 8; color: $foreground 75%; }
    """

    def __init__(self, study: Study, interval: float = INTERVAL_S) -> None:
        super().__init__(study, interval)
        self._tables: list[TextTable] = []
        self._at = 0

    def compose(self) -> ComposeResult:
        yield Static(f"{self.study.name}: reading …", id="tables-title", markup=False)
        yield Table[Cells]([], key=lambda row: row, empty="no run is finished yet", id="table")
        yield Static("", id="tables-row", markup=False)
        yield Static("", id="tables-note", markup=False)
        yield KeyLine()

    @property
    def table(self) -> Table[Cells]:
        return self.query_one(Table)

    def on_mount(self) -> None:
        self.table.focus()

    def show(self, found: SeenStudies[SeenReport]) -> None:
        shown = self.shown
        self._tables = [
            table for seen in found.studies for table in tables(seen.report) if table.title != CELLS_TITLE
        ]
        titles = [table.title for table in self._tables]
        self._at = titles.index(shown.title) if shown and shown.title in titles else 0
        self._fill(anew=self.shown != shown)

    @property
    def shown(self) -> TextTable | None:
        return self._tables[self._at] if self._tables else None

    def _fill(self, anew: bool = True) -> None:
        shown = self.shown
        self.say("#tables-note", shown.note if shown else "")
        if shown is None:
            self.say("#tables-title", f"{self.study.name}: nothing to tell of yet")
            self.table.fill([])
            return
        place = f"{self._at + 1} of {len(self._tables)}"
        self.say("#tables-title", f"{self.study.name}   {shown.title}   {place}")
        if anew:
            self.table.set_columns(columns(shown))
        self.table.fill(shown.rows)
        self._describe()

    def on_table_highlighted(self) -> None:
        self._describe()

    def _describe(self) -> None:
        shown, row = self.shown, self.table.highlighted
        cells = zip(shown.headings, row, strict=True) if shown and row else ()
        self.say("#tables-row", " · ".join(f"{heading} {cell}" for heading, cell in cells if cell))

    def action_next_table(self, by: int) -> None:
        if self._tables:
            self._at = (self._at + by) % len(self._tables)
            self._fill()

    def action_leave_tables(self) -> None:
        self.dismiss()


def columns(table: TextTable) -> list[Column[Cells]]:
    """A text table's columns; the first two stay on the narrowest screen."""
    found: list[Column[Cells]] = []
    for at, heading in enumerate(table.headings):
        texts = [row[at] for row in table.rows]
        numeric = all(_NUMBER.match(text) for text in texts if text) and any(texts)
        found.append(
            Column(
                heading,
                lambda row, at=at: row[at],
                max(map(len, (heading, *texts))),
                (lambda row, at=at: _leading(row[at])) if numeric else (lambda row, at=at: row[at]),
                right=numeric,
                drop=at if at > 1 else 0,
            )
        )
    return found


def _leading(text: str) -> tuple[float] | None:
    """The number that a cell begins with, its spread apart; None for an empty one."""
    found = _NUMBER.match(text)
    return (float(found[0]),) if found else None
