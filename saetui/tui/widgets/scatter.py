"""A scatter plot of groups of points, each group with its colour and its sign."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len

from saetui.plots.axes import Axis, linear_bounds, linear_ticks, place_x_ticks
from saetui.plots.palette import COUNT, MARKERS, series_classes, series_css
from saetui.quantities import short, si
from saetui.tui.widgets.canvas import Canvas, Grid, Symbols
from saetui.tui.widgets.cell_widget import CellWidget
from saetui.visible import head


@dataclass(frozen=True)
class Points:
    """A group of points; few (at most 40) are drawn as signs, many as dots."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0


def draw_scatter(
    groups: Sequence[Points],
    width: int,
    height: int,
    title: str = "",
    x_name: str = "",
    symbols: Symbols = "braille",
    crosshair: float | None = None,
) -> Grid:
    """The groups in ``width`` × ``height`` cells, the first above the others. NaN points are left out.

    ``crosshair``: a share of the x axis; the points in that column of cells are counted, and their range of y
    is read out."""
    grid = Grid(width, height)
    top = 1 if height >= 3 else 0
    rows = height - top - (1 if height >= 4 else 0)
    signs = MARKERS[symbols]
    finite = [
        [
            (max(-1e290, min(1e290, x)), max(-1e290, min(1e290, y)))
            for x, y in zip(group.x, group.y, strict=False)
            if math.isfinite(x) and math.isfinite(y)
        ]
        for group in groups
    ]
    points = [point for group in finite for point in group]
    if top and (crosshair is None or not points):
        x = grid.text(0, 0, head(title, width), "title")
        for group in groups:
            entry = f"  {signs[group.colour % COUNT]} {group.label}"
            x = grid.text(x, 0, head(entry, max(0, width - x)), f"series-{group.colour % COUNT}")
    if not points or rows < 1 or width < 1:
        grid.text(max(0, (width - 8) // 2), top + max(rows, 1) // 2, "no points", "axis")
        return grid
    x0, x1, _ = linear_bounds(min(x for x, _ in points), max(x for x, _ in points))
    y0, y1, step = linear_bounds(min(y for _, y in points), max(y for _, y in points))
    ticks = linear_ticks(y0, y1, step, rows)
    label = max(cell_len(text) for _, text in ticks)
    left = label + 1 if width >= label + 10 else 0
    for value, text in ticks if left else ():
        row = round((y1 - value) / (y1 - y0) * (rows - 1))
        grid.text(left - 1 - cell_len(text), top + row, text, "axis")
    canvas = Canvas(grid, left, top, width - left, rows, symbols)
    for group, kept in reversed(list(zip(groups, finite, strict=True))):
        style = f"series-{group.colour % COUNT}"
        canvas.layer(style)
        for x, y in kept:
            i = round((x - x0) / (x1 - x0) * (canvas.width - 1))
            j = round((y1 - y) / (y1 - y0) * (canvas.height - 1))
            if len(kept) > 40:
                canvas.dot(i, j)
            else:
                column, row = left + i // canvas.dots_x, top + j // canvas.dots_y
                grid.put(column, row, signs[group.colour % COUNT], style)
    if crosshair is not None:
        column = round(max(0.0, min(1.0, crosshair)) * (width - left - 1))
        a, b = (x0 + (x1 - x0) * (column + end) / (width - left) for end in (0, 1))
        if top:
            grid.text(0, 0, head(_reading(groups, finite, a, b, x1), width), "title")
        for row in range(top, top + rows):
            if grid.chars[row][left + column] in (" ", "⠀"):
                grid.put(left + column, row, "|" if symbols == "ascii" else "│", "crosshair")
    if top + rows < height:
        end = 0
        for at, text in place_x_ticks(Axis(x_name, short), x0, x1, width - left - len(x_name) - 1):
            end = grid.text(left + at, top + rows, text, "axis")
        if x_name and end:
            grid.text(width - cell_len(x_name), top + rows, x_name, "axis-name")
    return grid


def _reading(
    groups: Sequence[Points], finite: list[list[tuple[float, float]]], a: float, b: float, end: float
) -> str:
    """What lies over ``a`` to ``b``, the end of the axis included: ``3.20–3.40: a token 12, 0.50–4.10``."""
    said: list[str] = []
    for group, kept in zip(groups, finite, strict=True):
        here = [y for x, y in kept if a <= x < b or x == b == end]
        span = f", {si(min(here))}–{si(max(here))}" if here else ""
        said.append(f"{group.label} {len(here)}{span}")
    return f"{si(a)}–{si(b)}: " + "; ".join(said)


class Scatter(CellWidget):
    """A scatter plot. Fill it with :meth:`show`; :meth:`move` walks its crosshair."""

    STYLE_PREFIX = "scatter"
    COMPONENT_CLASSES: ClassVar = {
        *series_classes("scatter"),
        *(f"scatter--{part}" for part in ("title", "axis", "axis-name", "crosshair")),
    }
    DEFAULT_CSS = (
        series_css("Scatter", "scatter")
        + """
    Scatter {
        width: 1fr; height: 1fr; min-height: 3;
        & > .scatter--title { text-style: bold; }
        & > .scatter--axis { color: $foreground 55%; }
        & > .scatter--axis-name { color: $foreground 40%; text-style: italic; }
        & > .scatter--crosshair { color: $foreground 80%; }
    }
    """
    )

    def __init__(
        self, symbols: Symbols = "braille", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.symbols: Symbols = symbols
        self.crosshair: float | None = None
        """A share of the x axis."""
        self._content: tuple[list[Points], str, str] = ([], "", "")

    def show(self, groups: Sequence[Points], title: str = "", x_name: str = "") -> None:
        self._content = (list(groups), title, x_name)
        self.redraw()

    def draw(self, width: int, height: int) -> Grid:
        groups, title, x_name = self._content
        return draw_scatter(groups, width, height, title, x_name, self.symbols, self.crosshair)

    def move(self, by: int) -> None:
        """The crosshair ``by`` cells on; from nowhere it enters in the middle."""
        step = by / max(self.size.width - 1, 1)
        self.crosshair = 0.5 if self.crosshair is None else max(0.0, min(1.0, self.crosshair + step))
        self.redraw()

    def hide(self) -> bool:
        """Whether there was a crosshair to take away."""
        shown, self.crosshair = self.crosshair is not None, None
        self.redraw()
        return shown
