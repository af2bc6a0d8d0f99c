"""A widget drawn as a grid of cells, which sends to the terminal only the cells that changed."""

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from saetui.tui.widgets.canvas import Grid
from saetui.tui.widgets.styles import LineStyles


class CellWidget(LineStyles, Widget):
    """Subclasses draw; :meth:`redraw` compares with what is shown and refreshes the spans that differ.

    Style names of the grid are component classes: ``axis`` is ``{STYLE_PREFIX}--axis``.
    """

    STYLE_PREFIX = "cells"

    def __init__(self, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._shown: Grid | None = None

    def draw(self, width: int, height: int) -> Grid:
        """The content at this size."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draws anew after the data have changed. Costs nothing while the widget has no size."""
        width, height = self.size
        if not self.is_mounted or not width or not height:
            self._shown = None
            return
        grid, shown = self.draw(width, height), self._shown
        self._shown = grid
        if shown is None or (shown.width, shown.height) != (width, height):
            self.refresh()
        elif regions := [Region(x, y, count, 1) for x, y, count in grid.changes(shown)]:
            self.refresh(*regions)

    def focus_moved(self) -> None:
        self.redraw()

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._shown is None or (self._shown.width, self._shown.height) != (width, height):
            self._shown = self.draw(width, height)
        if y >= self._shown.height:
            return Strip.blank(width, self._style())
        return Strip([Segment(text, self._style(name)) for text, name in self._shown.runs(y)], width)
