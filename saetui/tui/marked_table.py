"""A table of runs of which some are marked, each with the sign and the colour that its curve has."""

from collections.abc import Callable
from typing import ClassVar, TypeVar

from saetui.plots.palette import MARKERS, series_classes, series_css
from saetui.tui.marks import Marks
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.table import Column, Table

Row = TypeVar("Row")


class MarkedTable(Table[Row]):
    """``columns`` may hold a :func:`mark_column`, whose styles are declared here."""

    COMPONENT_CLASSES: ClassVar = series_classes("table")
    DEFAULT_CSS = series_css("MarkedTable", "table")

    def toggle(self, marks: Marks, run: str) -> None:
        """Marks the run under the cursor, or takes its mark away, and goes on to the next."""
        if not marks.toggle(run):
            self.notify(f"{marks.MOST} runs are marked: more cannot be told apart")
        self.redraw_cells()
        self.action_move(1)

    def redraw_cells(self) -> None:
        """After the marks have changed: the rows are the same."""
        self.fill(self._all)


def mark_column(marks: Marks, symbols: Symbols, run: Callable[[Row], str | None]) -> Column[Row]:
    """The sign of a marked run. ``run``: a row's run id, None where it has no run yet."""

    def colour(row: Row) -> int | None:
        return marks.colour(run(row))

    def text(row: Row) -> str:
        return "" if (marked := colour(row)) is None else MARKERS[symbols][marked]

    def style(row: Row) -> str:
        return "" if (marked := colour(row)) is None else f"series-{marked}"

    return Column("", text, 1, sort=lambda row: colour(row) is None, style=style)
