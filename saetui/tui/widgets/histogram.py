"""A histogram: how often each value occurs, in columns of eighths of a cell."""

import math
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len

from saetui.plots.axes import Axis, place_x_ticks
from saetui.quantities import percent, short, si
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
    crosshair: int | None = None,
) -> Grid:
    """``counts[i]`` values lie between ``edges[i]`` and ``edges[i + 1]``; any data, any size.

    With ``log`` the heights are log(1 + count): activations of a feature span decades of counts, and
    a single one must still be seen. ``mark`` is a value to point at (a threshold); ``crosshair`` a bin whose
    count, and the share from there on, are read out.
    """
    grid = Grid(width, height)
    total = sum(counts)
    top = 1 if height >= 3 else 0
    rows = height - top - (1 if height >= 4 else 0)
    low, high = (edges[0], edges[-1]) if len(edges) == len(counts) + 1 else (0.0, 0.0)
    if top:
        x = grid.text(0, 0, head(title, width), "title")
        if crosshair is not None and 0 <= crosshair < len(counts) and total:
            note = _reading(edges, counts, crosshair)
        else:
            note = (
                f"n {si(total)}" + (f"  peak {si(max(counts))}" if counts else "") + ("  log" if log else "")
            )
        x += 2 if title else 0
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
    rules = [(mark, "|" if symbols == "ascii" else "┊", "mark")]
    if crosshair is not None and 0 <= crosshair < len(counts):
        middle = (edges[crosshair] + edges[crosshair + 1]) / 2
        rules.append((middle, "|" if symbols == "ascii" else "│", "crosshair"))
    for value, rule, style in rules:
        if value is not None and low <= value <= high:
            x = min(width - 1, int((value - low) / (high - low) * width))
            for row in range(rows):
                if grid.chars[top + row][x] == " ":
                    grid.put(x, top + row, rule, style)
    if top + rows < height:
        for x, label in place_x_ticks(_VALUE, low, high, width):
            grid.text(x, top + rows, label, "axis")
    return grid


def _reading(edges: Sequence[float], counts: Sequence[int], bin: int) -> str:
    """``2.90–3.05: 1.23k  ≥ 12.4k, 28.1 %``: the bin's count, and how many lie in it or beyond it."""
    beyond = sum(counts[bin:])
    count = counts[bin]
    return (
        f"{edges[bin]:.2f}–{edges[bin + 1]:.2f}: {count if count < 1000 else si(count)}  "
        f"≥ {si(beyond)}, {percent(beyond / sum(counts))}"
    )


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
    """A histogram of feature activations. Fill it with :meth:`show`; :meth:`move` walks its crosshair."""

    STYLE_PREFIX = "histogram"
    COMPONENT_CLASSES: ClassVar = {
        f"histogram--{part}" for part in ("title", "axis", "bar", "mark", "crosshair")
    }
    DEFAULT_CSS = """
    Histogram {
        width: 1fr; height: 1fr; min-height: 3;
        & > .histogram--title { text-style: bold; }
        & > .histogram--axis { color: $foreground 55%; }
        & > .histogram--bar { color: $text-primary; }
        & > .histogram--mark { color: $warning; }
        & > .histogram--crosshair { color: $foreground 80%; }
    }
    """

    def __init__(self, symbols: Symbols = "block", id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.symbols: Symbols = symbols
        self.crosshair: int | None = None
        """A bin."""
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

    def move(self, by: int) -> None:
        """The crosshair ``by`` bins on; from nowhere it enters at the last one that is not empty."""
        counts = self._content[1]
        if not any(counts):
            return
        last = max(i for i, count in enumerate(counts) if count)
        self.crosshair = last if self.crosshair is None else max(0, min(self.crosshair + by, len(counts) - 1))
        self.redraw()

    def hide(self) -> bool:
        """Whether there was a crosshair to take away."""
        shown, self.crosshair = self.crosshair is not None, None
        self.redraw()
        return shown

    def draw(self, width: int, height: int) -> Grid:
        edges, counts, title, log, mark = self._content
        return draw_histogram(edges, counts, width, height, title, log, self.symbols, mark, self.crosshair)
