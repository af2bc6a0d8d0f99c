"""Top-activating tokens in their contexts: one line each, the tokens under each other, thousands of lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from saetui.quantities import si
from saetui.tui.widgets.styles import LineStyles
from saetui.visible import head, pad, tail, visible

if TYPE_CHECKING:
    from saetui.features.results import Context

SHADES = 4
_VALUE = 7
"""Cells of the column with the activation."""
_MEASURED = 200
"""Contexts whose left sides say where the column of tokens stands."""


def shade(activation: float, largest: float) -> int:
    """0: silent; 1 … ``SHADES``: how strong ``activation`` is beside the largest one."""
    if not activation > 0 or not largest > 0:
        return 0
    return max(1, min(SHADES, int(activation / largest * SHADES) + 1))


def left_width(context: Context) -> int:
    """Cells that the side left of the token takes when nothing is cut."""
    return sum(cell_len(visible(token)) for token in context.tokens[: context.center])


def context_cells(
    context: Context, width: int, largest: float, left: int | None = None
) -> list[tuple[str, str]]:
    """One line of exactly ``width`` cells as (text, style) pieces.

    The token stands between « and » at the same column in every line: after ``left`` cells, but at most
    a little right of the middle (a language model has seen only what is left of the token); the sides are
    cut to what fits. Styles: ``value``, ``text``, ``token-N`` and ``shade-N`` by activation.
    """
    value = pad(si(context.activation), min(_VALUE, width) - 1, right=True)[: max(width - 1, 0)]
    pieces = [(value + " ", "value")] if width >= 24 else []
    room = width - (_VALUE if pieces else 0)
    column = room * 11 // 20 if left is None else min(left, room * 11 // 20)
    shown = [visible(token) for token in context.tokens]
    center = context.center
    token = head(visible(context.tokens[center], dots=True) or "∅", max(1, room - 2))
    before = [(shown[i], f"shade-{shade(context.activations[i], largest)}") for i in range(center)]
    after = [
        (shown[i], f"shade-{shade(context.activations[i], largest)}") for i in range(center + 1, len(shown))
    ]
    # A token too long for its side pushes the column to the left rather than being cut.
    marked = cell_len(token) + 2
    column = max(0, min(column, room - marked))
    pieces += _fit_left(before, column)
    pieces.append(("«" + token + "»", f"token-{shade(context.activation, largest)}"))
    pieces += _fit_right(after, room - column - marked)
    return pieces


def _fit_left(pieces: list[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    """The end of ``pieces`` in exactly ``width`` cells."""
    out: list[tuple[str, str]] = []
    for index, (text, style) in reversed(list(enumerate(pieces))):
        size = cell_len(text)
        if size > width or (size == width > 0 and index > 0):
            text = "…" if size <= width else tail(text, width)
            out.append((text, style))
            width -= cell_len(text)
            break
        out.append((text, style))
        width -= size
    out.append((" " * max(width, 0), "text"))
    return out[::-1]


def _fit_right(pieces: list[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    """The beginning of ``pieces`` in exactly ``width`` cells."""
    out: list[tuple[str, str]] = []
    for index, (text, style) in enumerate(pieces):
        size = cell_len(text)
        if size > width or (size == width > 0 and index < len(pieces) - 1):
            text = "…" if size <= width else head(text, width)
            out.append((text, style))
            width -= cell_len(text)
            break
        out.append((text, style))
        width -= size
    out.append((" " * max(width, 0), "text"))
    return out


@dataclass(frozen=True)
class Section:
    """Contexts under a heading; an empty title shows none."""

    title: str
    contexts: Sequence[Context]


class ContextList(LineStyles, ScrollView, can_focus=True):
    """A virtual list: only the lines on the screen are ever drawn. Fill it with :meth:`show`."""

    STYLE_PREFIX = "context-list"
    COMPONENT_CLASSES: ClassVar = {
        *(f"context-list--shade-{i}" for i in range(SHADES + 1)),
        *(f"context-list--token-{i}" for i in range(SHADES + 1)),
        *(f"context-list--{part}" for part in ("text", "value", "heading", "cursor", "empty")),
    }
    # Shades by background, and every firing token underlined: the shade alone is nothing without colour.
    DEFAULT_CSS = """
    ContextList {
        height: 1fr; min-height: 3; overflow-x: hidden;
        & > .context-list--text { color: $foreground; }
        & > .context-list--shade-0 { color: $foreground 75%; }
        & > .context-list--shade-1 { background: $primary 15%; text-style: underline; }
        & > .context-list--shade-2 { background: $primary 30%; text-style: underline; }
        & > .context-list--shade-3 { background: $primary 50%; text-style: underline; }
        & > .context-list--shade-4 { background: $primary 70%; text-style: underline; }
        & > .context-list--token-0 { text-style: bold; }
        & > .context-list--token-1 { background: $primary 25%; text-style: bold; }
        & > .context-list--token-2 { background: $primary 40%; text-style: bold; }
        & > .context-list--token-3 { background: $primary 60%; text-style: bold; }
        & > .context-list--token-4 { background: $primary 80%; text-style: bold; }
        & > .context-list--value { color: $foreground 60%; }
        & > .context-list--heading { color: $accent; text-style: bold; }
        & > .context-list--cursor { color: $foreground; text-style: bold reverse; }
        & > .context-list--empty { color: $foreground 60%; }
    }
    """
    BINDINGS: ClassVar = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "move(-1000000000)", "First", show=False),
        Binding("end,G", "move(1000000000)", "Last", show=False),
        Binding("enter", "select", "Select", show=False),
    ]

    class Highlighted(Message):
        """The cursor came to ``context``, the ``index``-th of all."""

        def __init__(self, list: ContextList, index: int, context: Context) -> None:
            super().__init__()
            self.list = list
            self.index = index
            self.context = context

        @property
        def control(self) -> ContextList:
            return self.list

    class Selected(Highlighted):
        """Enter, or a click on the line under the cursor."""

    def __init__(
        self,
        empty: str = "no contexts yet",
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.empty = empty
        self._lines: list[Context | str] = []
        self._contexts: list[int] = []  # the lines that are contexts
        self._largest = 0.0
        self._left = 0
        self._at = 0

    @property
    def contexts(self) -> list[Context]:
        """All contexts shown, headings left out."""
        return [line for line in self._lines if not isinstance(line, str)]

    def records(self) -> list[dict[str, Any]]:
        """Every context with the text on both sides as it is, and where in the corpus it stands."""
        return [
            {
                "activation": context.activation,
                "before": "".join(context.tokens[: context.center]),
                "token": context.tokens[context.center],
                "after": "".join(context.tokens[context.center + 1 :]),
                "row": context.row,
                "position": context.position,
            }
            for context in self.contexts
        ]

    @property
    def index(self) -> int:
        """The cursor, as an index into :attr:`contexts`."""
        return self._at

    @property
    def highlighted(self) -> Context | None:
        line = self._lines[self._contexts[self._at]] if self._contexts else None
        return None if isinstance(line, str) else line

    def show(
        self,
        sections: Sequence[Section] | Sequence[Context],
        largest: float = 0.0,
        empty: str = "",
        anew: bool = False,
    ) -> None:
        """Shows the contexts, shaded beside ``largest`` (0: the largest among them).

        The cursor stays on its context (by row and position) where that is still there, so that a list
        that grows in the background does not move under the reader. ``anew``: the contexts are of something
        else, and are read from the first one on.
        """
        before = None if anew else self.highlighted
        offset = self._contexts[self._at] - self.scroll_offset.y if self._contexts else 0
        said, self.empty = self.empty, empty or self.empty
        lines: list[Context | str] = []
        for entry in sections:
            if isinstance(entry, Section):
                if entry.title:
                    lines.append(entry.title)
                lines.extend(entry.contexts)
            else:
                lines.append(entry)
        same = lines == self._lines and largest in (0.0, self._largest)
        if same and not anew and (lines or said == self.empty):
            return
        self._lines = lines
        self._contexts = [i for i, line in enumerate(lines) if not isinstance(line, str)]
        found = self.contexts
        self._largest = largest or max((context.activation for context in found), default=0.0)
        self._left = max(map(left_width, found[:_MEASURED]), default=0)
        self._at = next(
            (
                i
                for i, context in enumerate(found)
                if before and (context.row, context.position) == (before.row, before.position)
            ),
            0,
        )
        self.virtual_size = Size(self.size.width, len(lines))
        if self._contexts:
            kept = self._contexts[self._at] - offset if before and self._at else 0
            self.scroll_to(y=max(0, kept), animate=False, immediate=True)
        self.refresh()
        if self.highlighted is not None and self.highlighted != before:
            self.post_message(self.Highlighted(self, self._at, self.highlighted))

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._lines))

    def action_move(self, by: int) -> None:
        self.move_to(self._at + by)

    def action_page(self, by: int) -> None:
        self.move_to(self._at + by * max(1, self.size.height - 1))

    def action_select(self) -> None:
        if context := self.highlighted:
            self.post_message(self.Selected(self, self._at, context))

    def move_to(self, index: int) -> None:
        """Puts the cursor on the ``index``-th context (clamped)."""
        if not self._contexts:
            return
        index = max(0, min(len(self._contexts) - 1, index))
        if index == self._at:
            return
        old, self._at = self._contexts[self._at], index
        new = self._contexts[index]
        self._refresh_line(old)
        self._refresh_line(new)
        top = new - 1 if new and isinstance(self._lines[new - 1], str) else new  # with its heading
        self.scroll_to_region(Region(0, top, 1, new - top + 1), animate=False, force=True, immediate=True)
        if context := self.highlighted:
            self.post_message(self.Highlighted(self, index, context))

    def on_click(self, event: events.Click) -> None:
        line = event.y + self.scroll_offset.y
        if line in self._contexts:
            index = self._contexts.index(line)
            if index == self._at:
                self.action_select()
            else:
                self.move_to(index)

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        line = y + self.scroll_offset.y
        if not self._lines and y == 0:
            return Strip([Segment(pad(self.empty, width), self._style("empty"))], width)
        if line >= len(self._lines):
            return Strip.blank(width, self._style())
        content = self._lines[line]
        if isinstance(content, str):
            return Strip([Segment(pad(content, width), self._style("heading"))], width)
        pieces = context_cells(content, width, self._largest, self._left)
        segments = [Segment(text, self._style(style)) for text, style in pieces if text]
        if self.has_focus and self._contexts and line == self._contexts[self._at]:
            # Only the value is reversed: the shades of the line stay readable.
            if pieces and pieces[0][1] == "value":
                segments[0] = Segment(pieces[0][0][:-1] + "▸", self._style("cursor"))
            segments = [Segment(s.text, (s.style or Style.null()) + Style(bold=True)) for s in segments]
        return Strip(segments, width)

    def focus_moved(self) -> None:
        if self._contexts:
            self._refresh_line(self._contexts[self._at])

    def _refresh_line(self, line: int) -> None:
        self.refresh(Region(0, line - self.scroll_offset.y, self.size.width, 1))
