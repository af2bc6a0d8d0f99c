"""A recording of a terminal application as one animated SVG: no script in it, no row that is stored twice.

Frames are read from the application's own screen, cell by cell, so that text stays text and every colour is
the one that the terminal would show.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from rich.color import Color, ColorType
from rich.segment import Segment
from rich.style import Style
from textual.app import App

CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 8.4, 17.0, 14
FOREGROUND, BACKGROUND = "#e0e0e0", "#121212"
FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"


@dataclass(frozen=True)
class Frame:
    rows: tuple[str, ...]
    """SVG of each row of cells, as if it were the first."""
    caption: str
    seconds: float


class Recording:
    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._columns = 0

    def add(self, app: App[Any], caption: str, seconds: float = 2.5) -> None:
        """The screen as it is now, to be shown for ``seconds``."""
        self._columns = app.size.width
        strips = app.screen._compositor.render_strips()  # pyright: ignore[reportPrivateUsage]
        rows = tuple(_row(list(strip)) for strip in strips)
        self._frames.append(Frame(rows, caption, seconds))

    def write(self, path: Path) -> None:
        names: dict[str, str] = {}
        for frame in self._frames:
            for row in frame.rows:
                names.setdefault(row, f"r{len(names)}")
        width = self._columns * CELL_WIDTH
        height = (max(len(frame.rows) for frame in self._frames) + 2) * CELL_HEIGHT
        total = sum(frame.seconds for frame in self._frames)
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" '
            f'font-family="{FONTS}" font-size="{FONT_SIZE}" xml:space="preserve">',
            f'<rect width="100%" height="100%" fill="{BACKGROUND}"/>',
            "<defs>",
            *(f'<g id="{name}">{row}</g>' for row, name in names.items() if row),
            "</defs>",
        ]
        begun = 0.0
        for frame in self._frames:
            first, end = begun == 0, begun + frame.seconds
            # A viewer that does not animate shows the first frame.
            out.append(f'<g visibility="{"visible" if first else "hidden"}">')
            times = [0.0, begun / total, end / total]
            values = ["visible" if first else "hidden", "visible", "hidden"]
            if first:
                times, values = [0.0, end / total], ["visible", "hidden"]
            elif frame is self._frames[-1]:
                times, values = times[:2], values[:2]
            out.append(
                f'<animate attributeName="visibility" calcMode="discrete" dur="{total:g}s" '
                f'repeatCount="indefinite" values="{";".join(values)}" '
                f'keyTimes="{";".join(f"{time:.4f}" for time in times)}"/>'
            )
            for y, row in enumerate(frame.rows):
                if row:
                    out.append(f'<use href="#{names[row]}" y="{y * CELL_HEIGHT:g}"/>')
            out.append(
                f'<text x="{CELL_WIDTH}" y="{height - 0.8 * CELL_HEIGHT:.1f}" fill="#ffd479" '
                f'font-weight="bold">{escape(frame.caption)}</text></g>'
            )
            begun = end
        out.append("</svg>\n")
        path.write_text("\n".join(out), encoding="utf-8")


def _row(segments: list[Segment]) -> str:
    """A row of cells: backgrounds that differ from the common one, then the text, a run of one look each."""
    runs: list[tuple[str, Style, int]] = []
    for segment in segments:
        if segment.control:
            continue
        style = segment.style or Style.null()
        if runs and _look(runs[-1][1]) == _look(style):
            text, _, width = runs.pop()
            runs.append((text + segment.text, style, width + segment.cell_length))
        else:
            runs.append((segment.text, style, segment.cell_length))
    backgrounds, texts, x = "", "", 0
    for text, style, width in runs:
        colour, background, weight, slant = _look(style)
        if background != BACKGROUND:
            backgrounds += (
                f'<rect x="{x * CELL_WIDTH:.1f}" width="{width * CELL_WIDTH + 0.3:.1f}" '
                f'height="{CELL_HEIGHT + 0.3:.1f}" fill="{background}"/>'
            )
        if bare := text.strip():
            start = x + len(text) - len(text.lstrip())
            cells = width - (len(text) - len(bare))
            extra = f' font-weight="{weight}"' * (weight != "normal") + f' font-style="{slant}"' * (
                slant != "normal"
            )
            texts += (
                f'<text x="{start * CELL_WIDTH:.1f}" y="{CELL_HEIGHT * 0.76:.1f}" fill="{colour}" '
                f'textLength="{cells * CELL_WIDTH:.1f}"{extra}>{escape(bare)}</text>'
            )
        x += width
    return backgrounds + texts


def _look(style: Style) -> tuple[str, str, str, str]:
    """Colour, background, weight and slant, with reversed ones turned round."""
    colour, background = _hex(style.color, FOREGROUND), _hex(style.bgcolor, BACKGROUND)
    if style.reverse:
        colour, background = background, colour
    return colour, background, "bold" if style.bold else "normal", "italic" if style.italic else "normal"


def _hex(colour: Color | None, default: str) -> str:
    if colour is None or colour.type is ColorType.DEFAULT:
        return default
    return colour.get_truecolor().hex
