"""Drawing into terminal cells: a grid of styled characters, and dots finer than a cell on it.

No Textual here: a plot is drawn into a :class:`Grid`, compared with the one on the screen, and only
the cells that differ are sent. That is what keeps a live plot small enough for a slow SSH link.
"""

from collections.abc import Iterator
from typing import Literal

from rich.cells import get_character_cell_size

Symbols = Literal["braille", "block", "ascii"]
"""What dots are made of; ``ascii`` for fonts without the others and for screen readers."""

_BRAILLE = "".join(chr(0x2800 + mask) for mask in range(256))
_QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
_COLONS = " '.:"

# Per symbol set: the characters by mask, and the bit of each dot, [column][row] in the cell.
_DOTS: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
    "braille": (_BRAILLE, ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))),
    "block": (_QUADRANTS, ((1, 4), (2, 8))),
    "ascii": (_COLONS, ((1, 2),)),
}


class Grid:
    """``height`` rows of ``width`` cells: a character and the name of a style each.

    A wide character fills its cell and leaves the next one empty (``""``), so that the characters of
    a row, joined, are always ``width`` cells wide.
    """

    __slots__ = ("chars", "height", "styles", "width")

    def __init__(self, width: int, height: int) -> None:
        self.width = max(0, width)
        self.height = max(0, height)
        self.chars = [[" "] * self.width for _ in range(self.height)]
        self.styles = [[""] * self.width for _ in range(self.height)]

    def put(self, x: int, y: int, char: str, style: str) -> None:
        """One narrow character; nothing outside the grid."""
        if 0 <= x < self.width and 0 <= y < self.height:
            self.chars[y][x] = char
            self.styles[y][x] = style

    def text(self, x: int, y: int, text: str, style: str = "", limit: int | None = None) -> int:
        """``text`` from ``x`` on, cut at ``limit`` (exclusive) or the grid's edge; gives the next free x."""
        if not 0 <= y < self.height:
            return x
        end = self.width if limit is None else min(limit, self.width)
        chars, styles = self.chars[y], self.styles[y]
        for char in text:
            size = get_character_cell_size(char)
            if size == 0:
                if 0 < x <= self.width and chars[x - 1]:
                    chars[x - 1] += char
                continue
            if x + size > end:
                break
            if x >= 0:
                chars[x], styles[x] = char, style
                if size == 2:
                    chars[x + 1], styles[x + 1] = "", style
            x += size
        return x

    def runs(self, y: int) -> Iterator[tuple[str, str]]:
        """Row ``y`` as (text, style) runs of one style each."""
        chars, styles = self.chars[y], self.styles[y]
        start = 0
        for x in range(1, self.width + 1):
            if x == self.width or styles[x] != styles[start]:
                yield "".join(chars[start:x]), styles[start]
                start = x

    def changes(self, other: "Grid", join: int = 8) -> Iterator[tuple[int, int, int]]:
        """Spans (x, y, width) whose cells differ from ``other``'s, a grid of the same size.

        Spans fewer than ``join`` cells apart are one: a cursor movement costs about as much.
        """
        for y in range(self.height):
            chars, styles = self.chars[y], self.styles[y]
            old_chars, old_styles = other.chars[y], other.styles[y]
            if chars == old_chars and styles == old_styles:
                continue
            start = end = -1
            for x in range(self.width):
                if chars[x] == old_chars[x] and styles[x] == old_styles[x]:
                    continue
                if start >= 0 and x - end > join:
                    yield start, y, end - start
                    start = x
                elif start < 0:
                    start = x
                end = x + 1
            yield start, y, end - start

    def plain(self) -> str:
        """The characters alone, a line a row."""
        return "\n".join("".join(row) for row in self.chars)


class Canvas:
    """Dots inside a rectangle of a grid; (0, 0) is the top left dot, what lies outside is clipped.

    A cell has one colour, so layers are painted over each other as a painter does: the first dot of
    a layer in a cell wipes what lay there, instead of taking over the dots in the wrong colour.
    """

    def __init__(self, grid: Grid, x: int, y: int, width: int, height: int, symbols: Symbols) -> None:
        self._grid = grid
        self._x, self._y = x, y
        self._cells_wide = max(0, min(width, grid.width - x))
        self._cells_high = max(0, min(height, grid.height - y))
        self._chars, self._bits = _DOTS[symbols]
        self._dots_x, self._dots_y = len(self._bits), len(self._bits[0])
        self.width = self._cells_wide * self._dots_x
        self.height = self._cells_high * self._dots_y
        count = self._cells_wide * self._cells_high
        self._masks = [0] * count
        self._layers = [0] * count
        self._layer = 0
        self._style = ""

    @property
    def dots_x(self) -> int:
        """Dots across a cell."""
        return self._dots_x

    @property
    def dots_y(self) -> int:
        """Dots down a cell."""
        return self._dots_y

    def layer(self, style: str) -> None:
        """What is drawn from here on lies above all that was drawn before, in ``style``."""
        self._layer += 1
        self._style = style

    def dot(self, i: int, j: int) -> None:
        if 0 <= i < self.width and 0 <= j < self.height:
            column, bit_x = divmod(i, self._dots_x)
            row, bit_y = divmod(j, self._dots_y)
            self._merge(column, row, self._bits[bit_x][bit_y])

    def span(self, i: int, j0: int, j1: int) -> None:
        """The dots from ``j0`` to ``j1`` (both included, in any order) of column ``i``."""
        if j0 > j1:
            j0, j1 = j1, j0
        j0, j1 = max(0, j0), min(self.height - 1, j1)
        if not 0 <= i < self.width or j0 > j1:
            return
        column, bit_x = divmod(i, self._dots_x)
        bits, high = self._bits[bit_x], self._dots_y
        for row in range(j0 // high, j1 // high + 1):
            mask, top = 0, row * high
            for bit_y in range(max(j0 - top, 0), min(j1 - top, high - 1) + 1):
                mask |= bits[bit_y]
            self._merge(column, row, mask)

    def line(self, i0: int, j0: int, i1: int, j1: int) -> None:
        """A connected line; between neighbouring columns it goes straight up or down, half in each."""
        if i0 > i1:
            i0, j0, i1, j1 = i1, j1, i0, j0
        if i0 == i1:
            self.span(i0, j0, j1)
            return
        if i1 - i0 == 1 and abs(j1 - j0) <= 1:
            self.dot(i0, j0)
            self.dot(i1, j1)
            return
        slope = (j1 - j0) / (i1 - i0)
        for i in range(max(i0, 0), min(i1, self.width - 1) + 1):
            low = max(i - 0.5, i0)
            high = min(i + 0.5, i1)
            a, b = j0 + slope * (low - i0), j0 + slope * (high - i0)
            if slope >= 0:
                a, b = round(a), max(round(a), round(b) - 1) if i < i1 else round(b)
            else:
                a, b = round(a), min(round(a), round(b) + 1) if i < i1 else round(b)
            self.span(i, a, b)

    def _merge(self, column: int, row: int, mask: int) -> None:
        cell = row * self._cells_wide + column
        if self._layers[cell] != self._layer:
            self._layers[cell] = self._layer
            self._masks[cell] = 0
        self._masks[cell] |= mask
        y, x = self._y + row, self._x + column
        self._grid.chars[y][x] = self._chars[self._masks[cell]]
        self._grid.styles[y][x] = self._style
