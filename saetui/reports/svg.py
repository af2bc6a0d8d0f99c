"""Line and scatter plots as SVG, drawn by hand: small, without a script, legible on light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from saetui.plots.axes import linear_bounds, linear_ticks
from saetui.plots.palette import COUNT

WIDTH, HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 20, 12, 46
_TICK_PX = 26
_LEGEND_PX = 18
# Readable on white and on near-black, and apart for the colour-blind: after Okabe and Ito
# (doi:10.5281/zenodo.4055914).
COLOURS = ("#2a7fc1", "#d07c00", "#139a6c", "#b8559a", "#a08a00", "#cc4f2a")
_MARKS = ("circle", "square", "triangle", "diamond", "cross", "circle")


@dataclass(frozen=True)
class Series:
    """Points ``(x, y)``; those that are not finite are left out. ``faint``: drawn behind, small and pale.
    ``band``: ``(x, low, high)``, the spread around a line."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    faint: bool = False
    labels: Sequence[str] = ()
    """What each point is called in a scatter, shown where the pointer rests; empty: nothing."""
    band: Sequence[tuple[float, float, float]] = ()


def line_plot(series: Sequence[Series], x_name: str, y_name: str) -> str:
    """Lines over x, a mark on every point of those that have few. An empty string without points."""
    drawn = [_finite(one) for one in series]
    frame = _Frame.around(drawn, x_name, y_name)
    if frame is None:
        return ""
    parts = [_band(frame, one) for one in drawn if len(one.band) > 1]
    for one in drawn:
        colour = COLOURS[one.colour % COUNT]
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in one.points)
        # More lines than colours: the second time round they are dashed.
        dash = ' stroke-dasharray="6 4"' if one.colour >= COUNT else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        if len(one.points) <= 40:
            parts += [_mark(frame, one, i) for i in range(len(one.points))]
    return frame.svg(parts, drawn)


def scatter_plot(series: Sequence[Series], x_name: str, y_name: str) -> str:
    """Points, the first series above the others. An empty string without points."""
    drawn = [_finite(one) for one in series]
    frame = _Frame.around(drawn, x_name, y_name)
    if frame is None:
        return ""
    return frame.svg([_mark(frame, one, i) for one in reversed(drawn) for i in range(len(one.points))], drawn)


@dataclass(frozen=True)
class _Frame:
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_step: float
    y_step: float
    x_name: str
    y_name: str

    @classmethod
    def around(cls, series: Sequence[Series], x_name: str, y_name: str) -> "_Frame | None":
        points = [point for one in series for point in one.points]
        if not points:
            return None
        points += [(x, y) for one in series for x, *ends in one.band for y in ends]
        x0, x1, x_step = linear_bounds(min(x for x, _ in points), max(x for x, _ in points))
        y0, y1, y_step = linear_bounds(min(y for _, y in points), max(y for _, y in points))
        return cls((x0, x1), (y0, y1), x_step, y_step, x_name, y_name)

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def svg(self, parts: Sequence[str], series: Sequence[Series]) -> str:
        # Ticks by the terminal's rules, a row of it being so many pixels.
        rows, columns = HEIGHT // _TICK_PX, WIDTH // (2 * _TICK_PX)
        lines: list[str] = []
        for value, label in linear_ticks(*self.y_range, self.y_step, rows):
            y = self.y(value)
            lines.append(f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="currentColor" opacity=".15"/>')
            lines.append(_text(_LEFT - 6, y + 4, label, "end"))
        for value, label in linear_ticks(*self.x_range, self.x_step, columns):
            lines.append(_text(self.x(value), HEIGHT - _BOTTOM + 16, label, "middle"))
        lines.append(_text(WIDTH - _RIGHT, HEIGHT - _BOTTOM + 32, self.x_name, "end"))
        lines.append(_text(_LEFT + 4, _TOP + 8, self.y_name, "start"))
        at, base = _LEFT, HEIGHT - _BOTTOM + 32
        end = WIDTH - _RIGHT - 7 * len(self.x_name) - 12
        for one in series:
            colour, width = COLOURS[one.colour % COUNT], 26 + 7 * len(one.label)
            if at > _LEFT and at + width > end:
                at, base, end = _LEFT, base + _LEGEND_PX, WIDTH - _RIGHT
            lines.append(_shape(one.colour, at + 4, base - 4, 4, f'fill="{colour}"'))
            lines.append(_text(at + 12, base, one.label, "start"))
            at += width
        height = base + _BOTTOM - 32
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="sans-serif" font-size="12" fill="currentColor">\n'
            + "\n".join([*lines, *parts])
            + "\n</svg>"
        )


def _finite(one: Series) -> Series:
    kept = [i for i, (x, y) in enumerate(one.points) if math.isfinite(x) and math.isfinite(y)]
    labels = [one.labels[i] for i in kept] if one.labels else ()
    return replace(one, points=[one.points[i] for i in kept], labels=labels)


def _band(frame: _Frame, one: Series) -> str:
    upper = [(x, high) for x, _, high in one.band]
    lower = [(x, low) for x, low, _ in reversed(one.band)]
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in upper + lower)
    return f'<polygon points="{path}" fill="{COLOURS[one.colour % COUNT]}" opacity=".13"/>'


def _mark(frame: _Frame, one: Series, i: int) -> str:
    x, y = one.points[i]
    paint = f'fill="{COLOURS[one.colour % COUNT]}"' + (' opacity=".35"' if one.faint else "")
    title = f"<title>{escape(one.labels[i])}</title>" if one.labels else ""
    return _shape(one.colour, frame.x(x), frame.y(y), 2 if one.faint else 4, paint, title)


def _shape(kind: int, x: float, y: float, r: float, paint: str, inside: str = "") -> str:
    """The mark that goes with a colour, because colour alone tells some people nothing."""
    match _MARKS[kind % len(_MARKS)]:
        case "circle":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" {paint}>{inside}</circle>'
        case "square":
            d = f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z"
        case "triangle":
            d = f"M{x:.1f} {y - r:.1f}l{r} {2 * r}h{-2 * r}z"
        case "diamond":
            d = f"M{x:.1f} {y - r:.1f}l{r} {r}l{-r} {r}l{-r} {-r}z"
        case _:
            d = f"M{x - r:.1f} {y - 1:.1f}h{2 * r}v2h{-2 * r}zM{x - 1:.1f} {y - r:.1f}h2v{2 * r}h-2z"
    return f'<path d="{d}" {paint}>{inside}</path>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
