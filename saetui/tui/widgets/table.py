"""A light virtual table: columns, a cursor, sorting, a filter; only the lines on the screen are drawn."""

import math
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from saetui.tui.widgets.styles import LineStyles
from saetui.visible import pad

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column: ``text`` gives a cell, ``sort`` what to sort by (None last; none: not sortable).

    ``width`` is what it needs; columns with ``grow`` share what is left. Where there is not room for
    all, columns with the highest ``drop`` go first (0: never). One with a ``wish`` for more than it needs is
    cut down to that before it goes.
    """

    title: str
    text: Callable[[Row], str]
    width: int
    sort: Callable[[Row], Any] | None = None
    right: bool = False
    grow: bool = False
    drop: int = 0
    wish: int = 0
    style: Callable[[Row], str] | None = None
    """Name of a style: one of ``good``, ``bad``, ``busy``, ``idle``."""


def fit_columns(columns: Sequence[Column[Any]], width: int) -> list[tuple[Column[Any], int]]:
    """The columns that have room in ``width`` cells, two apart, each with its width."""
    fitted = [(c, max(c.width, c.wish)) for c in columns]

    def spare() -> int:
        return width - sum(cells for _, cells in fitted) - 2 * (len(fitted) - 1)

    while spare() < 0 and any(c.drop for c, _ in fitted):
        at = max(range(len(fitted)), key=lambda i: fitted[i][0].drop)
        column, cells = fitted.pop(at)
        if cells > column.width:
            fitted.insert(at, (column, column.width))
    share, rest = divmod(max(0, spare()), max(1, sum(c.grow for c, _ in fitted)))
    grown = 0
    for i, (column, cells) in enumerate(fitted):
        if column.grow:
            fitted[i] = column, cells + share + (grown < rest)
            grown += 1
    return fitted


def _value(column: Column[Any], row: Any) -> Any:
    text = column.text(row).strip()
    value = column.sort(row) if column.sort else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if math.isfinite(value) else None
    if column.right and re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
        return float(text) if "." in text else int(text)
    return text


class Table(LineStyles, ScrollView, Generic[Row], can_focus=True):
    """Rows are any objects; ``key`` tells them apart, so that a refill keeps the cursor on its row."""

    STYLE_PREFIX = "table"
    COMPONENT_CLASSES: ClassVar = {
        f"table--{part}"
        for part in ("header", "cursor", "active", "good", "bad", "busy", "idle", "empty", "filter")
    }
    DEFAULT_CSS = """
    Table {
        height: 1fr; min-height: 3; overflow-x: hidden;
        & > .table--header { color: $foreground 70%; text-style: bold; }
        & > .table--filter { color: $warning; text-style: bold; }
        & > .table--cursor { background: $primary 30%; text-style: bold; }
        & > .table--active { background: $primary 60%; text-style: bold; }
        & > .table--good { color: $text-success; }
        & > .table--bad { color: $text-error; }
        & > .table--busy { color: $text-accent; }
        & > .table--idle { color: $foreground 60%; }
        & > .table--empty { color: $foreground 60%; }
    }
    """
    BINDINGS: ClassVar = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "move(-1000000000)", "First", show=False),
        Binding("end", "move(1000000000)", "Last", show=False),
        Binding("enter", "select", "Open", show=False),
        Binding("less_than_sign", "sort(-1)", "Sort by the column to the left", show=False),
        Binding("greater_than_sign", "sort(1)", "Sort by the column to the right", show=False),
        Binding("exclamation_mark", "reverse", "Sort the other way", show=False),
        Binding("slash", "filter", "Filter", show=False),
    ]

    class Highlighted(Message):
        """The cursor came to ``row``."""

        def __init__(self, table: "Table[Any]", row: Any) -> None:
            super().__init__()
            self.table = table
            self.row = row

        @property
        def control(self) -> "Table[Any]":
            return self.table

    class Selected(Highlighted):
        """Enter, or a click on the row under the cursor."""

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        key: Callable[[Row], Hashable],
        empty: str = "nothing here yet",
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.columns = list(columns)
        self.empty = empty
        self.filter_text = ""
        self._key = key
        self._all: list[Row] = []
        self._rows: list[Row] = []
        self._cells: list[list[str]] = []
        self._at = 0
        self._sort: Column[Row] | None = None
        self._reversed = False
        self._typing = False

    @property
    def rows(self) -> list[Row]:
        """The rows shown, sorted and filtered."""
        return self._rows

    @property
    def highlighted(self) -> Row | None:
        return self._rows[self._at] if self._rows else None

    def fill(self, rows: Sequence[Row], anew: bool = False) -> None:
        """Shows ``rows``. The cursor stays on its row, and only lines that look different are redrawn.
        ``anew``: they are about something else, and are read from the first one on."""
        if anew:
            self._all = []
            self._arrange()
        self._all = list(rows)
        self._arrange()

    def set_columns(self, columns: Sequence[Column[Row]]) -> None:
        """Other columns, to be followed by a :meth:`fill`; what it is sorted by stays where that is there."""
        looks = [[(c.title, c.width, c.drop) for c in some] for some in (self.columns, columns)]
        by = self._sort.title if self._sort else None
        self.columns = list(columns)
        self._sort = next((c for c in self.columns if c.sort and c.title == by), None)
        if looks[0] != looks[1]:
            self._rows, self._cells = [], []
            self.refresh()

    def records(self) -> list[dict[str, Any]]:
        """The rows shown, in their order, with all columns, those that have no room too: the number that a
        column sorts by, where it is one, else the text of the cell."""
        named = [column for column in self.columns if column.title]
        return [{column.title: _value(column, row) for column in named} for row in self._rows]

    def select_key(self, key: Hashable) -> bool:
        """Puts the cursor on the row with ``key``; False where it is not shown."""
        for index, row in enumerate(self._rows):
            if self._key(row) == key:
                self._move_to(index)
                return True
        return False

    def sort_by(self, title: str, reverse: bool = False) -> None:
        self._sort = next(column for column in self.columns if column.title == title)
        self._reversed = reverse
        self._arrange()

    # -- keys and mouse ------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        self._move_to(self._at + by)

    def action_page(self, by: int) -> None:
        self._move_to(self._at + by * max(1, self.size.height - 2))

    def action_select(self) -> None:
        if (row := self.highlighted) is not None:
            self.post_message(self.Selected(self, row))

    def action_sort(self, by: int) -> None:
        order: list[Column[Row] | None] = [None, *(c for c in self.columns if c.sort)]
        self._sort = order[(order.index(self._sort) + by) % len(order)]
        self._reversed = False
        self._arrange()

    def action_reverse(self) -> None:
        self._reversed = not self._reversed
        self._arrange()

    def action_filter(self) -> None:
        self._typing = True
        self._refresh_header()

    def on_key(self, event: events.Key) -> None:
        """While a filter is typed, keys are its letters; enter keeps it, escape takes it away."""
        if event.key == "escape" and (self._typing or self.filter_text):
            self._typing, text = False, ""
        elif not self._typing:
            return
        elif event.key == "enter":
            self._typing, text = False, self.filter_text
        elif event.key == "backspace":
            text = self.filter_text[:-1]
        elif event.is_printable and event.character:
            text = self.filter_text + event.character
        else:
            return
        event.stop()
        event.prevent_default()
        self._set_filter(text)

    def on_paste(self, event: events.Paste) -> None:
        if self._typing:
            event.stop()
            self._set_filter(self.filter_text + " ".join(event.text.split()))

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return self._typing and character is not None and character.isprintable()

    def focus_moved(self) -> None:
        if self._typing:
            self._typing = False
            self._refresh_header()
        self._refresh_line(self._at)

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            x = 0
            for column, width in fit_columns(self.columns, self.scrollable_content_region.width - 2):
                if x <= event.x - 2 < x + width + 1 and column.sort:
                    self._reversed = not self._reversed if column is self._sort else False
                    self._sort = column
                    self._arrange()
                x += width + 2
            return
        index = event.y - 1 + self.scroll_offset.y
        if index == self._at:
            self.action_select()
        elif index < len(self._rows):
            self._move_to(index)

    # -- content -------------------------------------------------------------------------------

    def _set_filter(self, text: str) -> None:
        self.filter_text = text
        self._arrange()
        self._refresh_header()

    def _arrange(self) -> None:
        """Filters, sorts, and puts the cursor back on its row (or, if that is gone, on its line)."""
        before = self.highlighted
        old_cells, old_at = self._cells, self._at
        rows = self._all
        if words := self.filter_text.casefold().split():
            rows = [
                row
                for row in rows
                if all(word in " ".join(c.text(row) for c in self.columns).casefold() for word in words)
            ]
        if self._sort and (sort := self._sort.sort):
            known = [row for row in rows if sort(row) is not None]
            unknown = [row for row in rows if sort(row) is None]
            rows = sorted(known, key=sort, reverse=self._reversed) + unknown
        elif self._reversed:
            rows = rows[::-1]
        self._rows = list(rows)
        self._cells = [[column.text(row) for column in self.columns] for row in self._rows]
        keys = [self._key(row) for row in self._rows]
        if before is not None and self._key(before) in keys:
            self._at = keys.index(self._key(before))
        else:
            self._at = max(0, min(self._at, len(keys) - 1))
        size = Size(self.size.width, len(self._rows) + 1)
        if size != self.virtual_size or not self._rows:
            self.virtual_size = size
            self.refresh()
        else:
            for index in range(len(self._rows)):
                changed = old_cells[index : index + 1] != self._cells[index : index + 1]
                if changed or (self._at != old_at and index in (self._at, old_at)):
                    self._refresh_line(index)
            self._refresh_header()
        self._scroll_to_cursor()
        after = self.highlighted
        if after is not None and (before is None or self._key(after) != self._key(before)):
            self.post_message(self.Highlighted(self, after))

    def _move_to(self, index: int) -> None:
        index = max(0, min(len(self._rows) - 1, index))
        if not self._rows or index == self._at:
            return
        old, self._at = self._at, index
        self._refresh_line(old)
        self._refresh_line(index)
        self._scroll_to_cursor()
        self.post_message(self.Highlighted(self, self._rows[index]))

    def _scroll_to_cursor(self) -> None:
        height = self.size.height - 1  # the header does not scroll
        if height < 1:
            return
        y = self.scroll_offset.y
        wanted = min(max(y, self._at - height + 1), self._at)
        if wanted != y:
            self.scroll_to(y=wanted, animate=False, immediate=True, force=True)

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._rows) + 1)
        self._scroll_to_cursor()

    def _refresh_line(self, index: int) -> None:
        y = index - self.scroll_offset.y + 1
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def _refresh_header(self) -> None:
        self.refresh(Region(0, 0, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y == 0:
            return self._header(width)
        index = y - 1 + self.scroll_offset.y
        if not self._rows and y == 1:
            text = (
                f"nothing matches “{self.filter_text}”; escape shows all" if self.filter_text else self.empty
            )
            return Strip([Segment(pad("  " + text, width), self._style("empty"))], width)
        if index >= len(self._rows):
            return Strip.blank(width, self._style())
        here = index == self._at
        base = self._style(("active" if self.has_focus else "cursor") if here else "")
        row, cells = self._rows[index], self._cells[index]
        segments = [Segment("▸ " if here else "  ", base)]
        for column, size in fit_columns(self.columns, width - 2):
            text = pad(cells[self.columns.index(column)], size, column.right)
            style = base
            if column.style and (name := column.style(row)):
                style = Style(color=self._style(name).color, bgcolor=base.bgcolor, bold=base.bold)
            segments += [Segment(text, style), Segment("  ", base)]
        return Strip(segments).adjust_cell_length(width, base)

    def _header(self, width: int) -> Strip:
        if self._typing or self.filter_text:
            cursor = "▏" if self._typing else ""
            text = f"/{self.filter_text}{cursor}   {len(self._rows)} of {len(self._all)}"
            return Strip([Segment(pad(text, width), self._style("filter"))], width)
        style = self._style("header")
        text = "  "
        for column, size in fit_columns(self.columns, width - 2):
            arrow = ("▾" if self._reversed else "▴") if column is self._sort else ""
            title = pad(column.title, size - cell_len(arrow)).rstrip() + arrow
            text += pad(title, size, column.right) + "  "
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)
