"""What a line plot shows and how it is drawn into cells; no Textual, so that it can be tested alone."""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from rich.cells import cell_len

from saetui.plots import axes
from saetui.plots.axes import TOKENS, Axis
from saetui.plots.palette import COUNT, MARKERS
from saetui.quantities import percent, si
from saetui.tui.widgets.canvas import Canvas, Grid, Symbols
from saetui.tui.widgets.series import Series
from saetui.visible import head

_RULES = {"braille": "│┤", "block": "│┤", "ascii": "|+"}


@dataclass
class Trace:
    """A series with its place in the legend: ``colour`` is also the index of its marker, so that two
    traces differ without colour too. ``band``: the faint range of raw values behind the line;
    ``smooth``: whether the plot's smoothing applies (not to a few evaluations)."""

    label: str
    series: Series = field(default_factory=Series)
    colour: int = 0
    band: bool = True
    smooth: bool = True


@dataclass
class PlotModel:
    """The state of one plot. ``draw`` turns it into cells and never raises, whatever the data and the size.

    ``crosshair`` is an x on the current axis; ``smoothing`` the length in which the average forgets, as a
    share of the first axis (0: none); ``zero``: the y axis includes zero. ``tell_smoothing``: the legend
    names the smoothing (one of several plots says it for all).
    ``log`` is ignored, with a note, while no value is positive.
    """

    title: str = ""
    traces: list[Trace] = field(default_factory=list[Trace])
    axes: tuple[Axis, ...] = (TOKENS,)
    domains: tuple[tuple[float, float] | None, ...] = (None,)
    axis: int = 0
    log: bool = False
    smoothing: float = 0.0
    zero: bool = False
    crosshair: float | None = None
    tell_smoothing: bool = True
    symbols: Symbols = "braille"
    empty: str = "no data yet"
    format: Callable[[float | None], str] = si

    def draw(self, width: int, height: int) -> Grid:
        """The plot in ``width`` × ``height`` cells: a legend, the lines, a row of x labels."""
        return _Drawing(self, width, height).grid

    def step_crosshair(self, by: int, width: int, height: int) -> float | None:
        """Moves the crosshair ``by`` columns; from nowhere it enters at the latest point."""
        drawing = _Drawing(self, width, height)
        if not drawing.has_data:
            return None
        if self.crosshair is None:
            self.crosshair = drawing.latest_x
        else:
            step = by / max(drawing.columns - 1, 1)
            self.crosshair = drawing.x_at(drawing.share_at(self.crosshair) + step)
        return self.crosshair

    def crosshair_at(self, column: int, width: int, height: int) -> float | None:
        """Puts the crosshair under a column of the widget, as a mouse does."""
        drawing = _Drawing(self, width, height)
        if not drawing.has_data:
            return None
        self.crosshair = drawing.x_at((column - drawing.left) / max(drawing.columns - 1, 1))
        return self.crosshair


class _Column(NamedTuple):
    """What falls into one column of dots: the line there (NaN: a gap) and the range of raw values."""

    i: int
    y: float
    low: float
    high: float


class _Drawing:
    """One drawing of a model at one size."""

    def __init__(self, model: PlotModel, width: int, height: int) -> None:
        self.model = model
        self.grid = Grid(width, height)
        self.index = min(model.axis, len(model.axes) - 1)
        self.axis = model.axes[self.index]
        self.has_data = False
        self.left, self.columns = 0, max(width, 0)
        self.x0 = self.x1 = self.latest_x = 0.0
        self.log = False
        if width <= 0 or height <= 0:
            return
        self.top = 1 if height >= 2 else 0
        self.rows = height - self.top - (1 if height >= 4 else 0)
        self._find_x()
        if self.has_data and self.rows > 0:
            self._find_y()
            self._draw_plot()
        elif self.rows > 0:
            text = head(model.empty, width)
            self.grid.text((width - cell_len(text)) // 2, self.top + self.rows // 2, text, "axis")
        if self.top or not self.has_data:
            self._draw_legend()

    def _find_x(self) -> None:
        firsts, lasts = [], []
        for trace in self.model.traces:
            xs = trace.series.xs
            if any(trace.series.counts):
                if self.axis.log:  # a record at zero has no place there; it is drawn at the left edge
                    xs = [x for x in xs if x[self.index] > 0] or xs
                firsts.append(xs[0][self.index])
                lasts.append(xs[-1][self.index])
        if not lasts:
            return
        self.has_data = True
        self.latest_x = max(lasts)
        domain = self.model.domains[self.index] if self.index < len(self.model.domains) else None
        self.x0, self.x1 = axes.x_bounds(self.axis, min(firsts), self.latest_x, domain)

    def _along(self, x: float) -> float:
        """``x`` in the unit in which the axis is even: itself, or its power of ten."""
        return math.log10(max(x, 1.0)) if self.axis.log else x

    def x_at(self, share: float) -> float:
        """The x at a share of the axis' length."""
        x = self.x0 + max(0.0, min(1.0, share)) * (self.x1 - self.x0)
        return 10.0**x if self.axis.log else x

    def share_at(self, x: float) -> float:
        return (self._along(x) - self.x0) / (self.x1 - self.x0)

    def _find_y(self) -> None:
        model = self.model
        length = model.smoothing * self._length()
        self.smoothed = [trace.series.smoothed(length if trace.smooth else 0.0) for trace in model.traces]
        positive = any(high > 0 for trace in model.traces for high in trace.series.maxima)
        self.log = model.log and positive
        lows: list[float] = []
        highs: list[float] = []
        for trace, line in zip(model.traces, self.smoothed, strict=True):
            values = [y for y in line if y > 0 or (not self.log and not math.isnan(y))]
            lows += values
            highs += values
            if trace.band:
                lows += [y for y in trace.series.minima if math.isfinite(y) and (y > 0 or not self.log)]
                highs += [y for y in trace.series.maxima if math.isfinite(y) and (y > 0 or not self.log)]
        if model.zero and not self.log:
            lows.append(0.0)
            highs.append(0.0)
        if not lows or not highs:  # log scale, and only bands reach above zero
            lows = highs = [high for t in model.traces for high in t.series.maxima if high > 0] or [1.0]
        if self.log:
            self.y0, self.y1 = axes.log_bounds(min(lows), max(highs))
            self.ticks = axes.log_ticks(self.y0, self.y1, max(2, (self.rows + 1) // 2))
        else:
            self.y0, self.y1, step = axes.linear_bounds(min(lows), max(highs))
            self.ticks = axes.linear_ticks(self.y0, self.y1, step, self.rows)
        label = max(cell_len(text) for _, text in self.ticks)
        width = self.grid.width
        self.left = label + 1 if width >= label + 10 else 0
        self.columns = width - self.left

    def _length(self) -> float:
        """Of the first axis, as planned or else as far as the data go."""
        if self.model.domains and (domain := self.model.domains[0]):
            return domain[1] - domain[0]
        xs = [trace.series.xs for trace in self.model.traces if trace.series.xs]
        return max(x[-1][0] for x in xs) - min(x[0][0] for x in xs)

    def _share(self, y: float) -> float:
        """Where ``y`` lies between the bottom (0) and the top (1), clipped to them."""
        if self.log:
            if y <= self.y0:
                return 0.0
            bottom = math.log(self.y0)
            share = (math.log(y) - bottom) / (math.log(self.y1) - bottom)
        else:
            share = (y - self.y0) / (self.y1 - self.y0)
        return 0.0 if share < 0 else 1.0 if share > 1 else share

    def _draw_plot(self) -> None:
        self._draw_axes()
        canvas = Canvas(self.grid, self.left, self.top, self.columns, self.rows, self.model.symbols)
        traces = [
            (trace, self._bin(trace, line, canvas.width))
            for trace, line in zip(self.model.traces, self.smoothed, strict=True)
        ]

        def down(y: float) -> int:
            return round((1 - self._share(y)) * (canvas.height - 1))

        for trace, columns in traces:
            if trace.band:
                canvas.layer(f"band-{trace.colour % COUNT}")
                for column in columns:
                    if column.low < column.high:
                        canvas.span(column.i, down(column.high), down(column.low))
        for trace, columns in reversed(traces):
            canvas.layer(f"series-{trace.colour % COUNT}")
            before: _Column | None = None
            for column in columns:
                if math.isnan(column.y):
                    before = None
                    continue
                j = down(column.y)
                if before is None:
                    canvas.dot(column.i, j)
                else:
                    canvas.line(before.i, down(before.y), column.i, j)
                before = column
        self._draw_crosshair()
        for trace, columns in reversed(traces):
            self._draw_markers(trace, columns, down, canvas)

    def _bin(self, trace: Trace, line: list[float], width: int) -> list[_Column]:
        """The series by column of dots. A line through a column is the mean of the buckets there, or
        with smoothing the average's last value."""
        series, index, x0 = trace.series, self.index, self.x0
        scale = (width - 1) / (self.x1 - x0)
        last = width - 1
        values = [x[index] for x in series.xs]
        if self.axis.log:
            values = [self._along(value) for value in values]
        at = [max(0, min(last, round((value - x0) * scale))) for value in values]
        out: list[_Column] = []
        start = 0
        for end in range(1, len(at) + 1):
            if end < len(at) and at[end] == at[start]:
                continue
            here = slice(start, end)
            if end - start == 1:
                y = line[start]
            elif self.model.smoothing and trace.smooth:
                y = next((value for value in reversed(line[here]) if value == value), math.nan)
            else:
                count = sum(series.counts[here])
                y = sum(series.sums[here]) / count if count else math.nan
            if self.log and y <= 0:
                y = math.nan
            out.append(_Column(at[start], y, min(series.minima[here]), max(series.maxima[here])))
            start = end
        return out

    def _draw_axes(self) -> None:
        rule, tick = _RULES[self.model.symbols]
        if self.left:
            for row in range(self.rows):
                self.grid.put(self.left - 1, self.top + row, rule, "axis")
            taken: list[int] = []
            labels: list[str] = []
            ends = [self.ticks[-1], self.ticks[0], *self.ticks[1:-1]]
            for value, label in ends:
                row = round((1 - self._share(value)) * (self.rows - 1))
                if label in labels or any(abs(row - other) < 2 for other in taken):
                    continue
                taken.append(row)
                labels.append(label)
                self.grid.text(self.left - 1 - cell_len(label), self.top + row, label, "axis")
                self.grid.put(self.left - 1, self.top + row, tick, "axis")
        bottom = self.top + self.rows
        if bottom < self.grid.height:
            name = self.axis.name
            ticks = axes.place_x_ticks(self.axis, self.x0, self.x1, self.columns, len(name))
            for at, label in ticks:
                self.grid.text(self.left + at, bottom, label, "axis")
            spot = axes.last_gap(ticks, self.columns, len(name))
            if spot is not None and ticks:
                self.grid.text(self.left + spot, bottom, name, "axis-name")

    def _draw_markers(
        self, trace: Trace, columns: list[_Column], down: Callable[[float], int], canvas: Canvas
    ) -> None:
        """The trace's sign at its end, and along the line where there are others to tell it from."""
        drawn = [column for column in columns if not math.isnan(column.y)]
        if not drawn:
            return
        sign = MARKERS[self.model.symbols][trace.colour % COUNT]
        several = len(self.model.traces) > 1
        every = 14
        seen = -1
        for column in drawn[:-1] if several else []:
            cell = column.i // canvas.dots_x
            if cell != seen and cell % every == (trace.colour * 5 + 3) % every:
                self._sign(cell, down(column.y) // canvas.dots_y, sign, trace)
            seen = cell
        last = drawn[-1]
        self._sign(last.i // canvas.dots_x, down(last.y) // canvas.dots_y, sign, trace)

    def _sign(self, column: int, row: int, sign: str, trace: Trace) -> None:
        self.grid.put(self.left + column, self.top + row, sign, f"series-{trace.colour % COUNT}")

    def _draw_crosshair(self) -> None:
        at = self.model.crosshair
        if at is None:
            return
        share = max(-1.0, min(2.0, self.share_at(at)))
        column = self.left + round(share * (self.columns - 1))
        rule = _RULES[self.model.symbols][0]
        for row in range(self.top, self.top + self.rows):
            if self.left <= column < self.grid.width and self.grid.chars[row][column] in (" ", "⠀"):
                self.grid.put(column, row, rule, "crosshair")

    def _draw_legend(self) -> None:
        model, width = self.model, self.grid.width
        at = model.crosshair if self.has_data else None
        flags = self._flags()
        entries = [
            (trace, *self._entry(trace, k, at)) for k, trace in enumerate(model.traces) if len(trace.series)
        ]
        # The richest legend that fits: labels, values and ranges; then less and less of them. Under the
        # crosshair values matter more than labels, flags and the title.
        titles, levels = [model.title], ["lvr", "lv", "l1", "l", "l-", "1", "-"]
        if at is not None:
            where = f"@ {self.axis.label(at)}"
            titles, levels = [f"{model.title} {where}".lstrip(), where], ["lvr", "lv", "v", "v-"]
        parts, gap = [(titles[-1], "title")], 2
        for title, level in ((title, level) for title in titles for level in levels):
            gap = 1 if "-" in level else 2
            parts = [(title, "title")]
            for k, (trace, value, span) in enumerate(entries):
                sign = MARKERS[model.symbols][trace.colour % COUNT]
                label = trace.label if "l" in level and trace.label != model.title else ""
                named = f"{sign} {label}" if label and model.symbols == "ascii" else sign + label
                shown = value if "v" in level or ("1" in level and k == 0) else ""
                text = " ".join(filter(None, (named, shown, f"[{span}]" if span and "r" in level else "")))
                parts.append((text, f"series-{trace.colour % COUNT}"))
            used = sum(cell_len(text) for text, _ in parts) + gap * (len(parts) - 1)
            if used + (len(flags) + 2 if flags and "v" in level and at is None else 0) <= width:
                break
        x = 0
        for text, style in parts:
            if x >= width:
                break
            x = self.grid.text(x, 0, head(text, width - x), style) + gap
        if flags and x + len(flags) <= width:
            alert = "NaN" in flags or "none" in flags
            self.grid.text(width - len(flags), 0, flags, "alert" if alert else "flag")

    def _flags(self) -> str:
        flags = []
        if bad := sum(trace.series.bad for trace in self.model.traces):
            flags.append(f"{bad} NaN!")
        if self.model.log:
            flags.append("log" if self.log or not self.has_data else "log: none > 0")
        if self.model.smoothing and self.model.tell_smoothing:
            flags.append(f"ema {percent(self.model.smoothing, 1)}")
        return " ".join(flags)

    def _entry(self, trace: Trace, k: int, at: float | None) -> tuple[str, str]:
        """The value to read off, and the range of raw values under the crosshair."""
        series, show = trace.series, self.model.format
        if not self.has_data or not hasattr(self, "smoothed"):
            return show(series.last), ""
        line = self.smoothed[k]
        if at is None:
            value = line[-1] if line and math.isfinite(series.last) else series.last
            return ("NaN" if math.isnan(value) else show(value)), ""
        nearest = self._nearest(series, at)
        if nearest is None:
            return "–", ""
        low, high = series.minima[nearest], series.maxima[nearest]
        span = f"{show(low)}…{show(high)}" if trace.band and low < high else ""
        return show(line[nearest]), span

    def _nearest(self, series: Series, at: float) -> int | None:
        """The bucket closest to ``at``; None beyond either end by more than a column."""
        k = bisect_left(series.xs, at, key=itemgetter(self.index))
        near = [n for n in (k - 1, k) if 0 <= n < len(series.xs)]

        def columns_away(n: int) -> float:
            away = self.share_at(series.xs[n][self.index]) - self.share_at(at)
            return abs(away) * max(self.columns - 1, 1)

        best = min(near, key=columns_away, default=None)
        if best is None or (k in (0, len(series.xs)) and columns_away(best) > 1):
            return None
        return best
