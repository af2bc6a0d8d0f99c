"""A histogram: how often each value occurs, in columns of eighths of a cell."""

import math
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len

from saetui.quantities import short, si
from saetui.tui.widgets.axes import Axis, place_x_ticks
from saetui.tui.widgets.canvas import Grid, Symbols
from saetui.tui.widgets.cell_widget import CellWidget
from saetui.visible import head

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_VALUE = Axis("activation", short)


def draw_histogram(
    edges: Sequence[float],
    counts: Sequence[int],
    width: int,
    height: int,
    title: str = "",
    log: bool = True,
    symbols: Symbols = "block",
    mark: float | None = None,
) -> Grid:
    """``counts[i]`` values lie between ``edges[i]`` and ``edges[i + 1]``; any data, any size.

    With ``log`` the heights are log(1 + count): activations of a feature span decades of counts, and
    a single one must still be seen. ``mark`` is a value to point at (a threshold).
    """
    grid = Grid(width, height)
    total = sum(counts)
    top = 1 if height >= 3 else 0
    rows = height - top - (1 if height >= 4 else 0)
    low, high = (edges[0], edges[-1]) if len(edges) == len(counts) + 1 else (0.0, 0.0)
    if top:
        x = grid.text(0, 0, head(title, width), "title")
        note = f"  n {si(total)}" + (f"  peak {si(max(counts))}" if counts else "") + ("  log" if log else "")
        grid.text(x, 0, head(note, max(0, width - x), ""), "axis")
    if not total or not math.isfinite(high - low) or high <= low or rows < 1 or width < 1:
        text = head("no activations" if not total else "", width)
        grid.text((width - cell_len(text)) // 2, top + max(rows, 1) // 2, text, "axis")
        return grid
    steps = _EIGHTHS if symbols != "ascii" else " .:|"
    per_cell = len(steps) - 1
    scale = math.log1p if log else float
    columns = _resample(edges, counts, width)
    tallest = scale(max(columns)) or 1.0
    for x, count in enumerate(columns):
        filled = max(1, round(scale(count) / tallest * rows * per_cell)) if count else 0
        for row in range(rows):
            part = min(per_cell, filled - (rows - 1 - row) * per_cell)
            if part > 0:
                grid.put(x, top + row, steps[part], "bar")
    if mark is not None and low <= mark <= high:
        x = round((mark - low) / (high - low) * (width - 1))
        for row in range(rows):
            if grid.chars[top + row][x] == " ":
                grid.put(x, top + row, "|" if symbols == "ascii" else "┊", "mark")
    if top + rows < height:
        for x, label in place_x_ticks(_VALUE, low, high, width):
            grid.text(x, top + rows, label, "axis")
    return grid


def _resample(edges: Sequence[float], counts: Sequence[int], width: int) -> list[float]:
    """Counts by screen column: a bin spreads over the columns that it covers, or adds to the one it is in."""
    low, high = edges[0], edges[-1]
    columns = [0.0] * width
    for i, count in enumerate(counts):
        a = (edges[i] - low) / (high - low) * width
        b = (edges[i + 1] - low) / (high - low) * width
        first = min(int(a), width - 1)
        last = max(first, min(math.ceil(b - 1e-9), width) - 1)
        if last == first:
            columns[first] += count
        else:
            for x in range(first, last + 1):
                columns[x] = max(columns[x], count)
    return columns


class Histogram(CellWidget):
    """A histogram of feature activations. Fill it with :meth:`show`."""

    STYLE_PREFIX = "histogram"
    COMPONENT_CLASSES: ClassVar = {f"histogram--{part}" for part in ("title", "axis", "bar", "mark")}
    DEFAULT_CSS = """
    Histogram {
        width: 1fr; height: 1fr; min-height: 3;
        & > .histogram--title { text-style: bold; }
        & > .histogram--axis { color: $foreground 55%; }
        & > .histogram--bar { color: $text-primary; }
        & > .histogram--mark { color: $warning; }
    }
    """

    def __init__(self, symbols: Symbols = "block", id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.symbols: Symbols = symbols
        self._content: tuple[list[float], list[int], str, bool, float | None] = ([], [], "", True, None)

    def show(
        self,
        edges: Sequence[float],
        counts: Sequence[int],
        title: str = "",
        log: bool = True,
        mark: float | None = None,
    ) -> None:
        self._content = (list(edges), list(counts), title, log, mark)
        self.redraw()

    def draw(self, width: int, height: int) -> Grid:
        edges, counts, title, log, mark = self._content
        return draw_histogram(edges, counts, width, height, title, log, self.symbols, mark)
