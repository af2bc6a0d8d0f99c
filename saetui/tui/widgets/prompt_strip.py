"""A probed prompt as a strip of tokens, each with the activation of the followed feature under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message

from saetui.quantities import si
from saetui.tui.widgets.canvas import Grid
from saetui.tui.widgets.cell_widget import CellWidget
from saetui.tui.widgets.context_list import SHADES, shade
from saetui.visible import head, visible

if TYPE_CHECKING:
    from saetui.features.results import PromptProbe, TokenProbe


@dataclass(frozen=True)
class _Slot:
    """Where a token stands: first cell, line (two rows each), cells."""

    x: int
    line: int
    width: int
    text: str
    value: str
    shade: int


def lay_out(tokens: list[str], values: list[float], width: int) -> list[_Slot]:
    """The tokens in lines of ``width`` cells, each as wide as the wider of itself and its value."""
    largest = max(values, default=0.0)
    slots: list[_Slot] = []
    x = line = 0
    for token, value in zip(tokens, values, strict=True):
        text = head(visible(token, dots=True) or "∅", max(1, width))
        number = si(value, 2) if value > 0 else ""
        size = max(cell_len(text), cell_len(number))
        if x and x + size > width:
            x, line = 0, line + 1
        slots.append(_Slot(x, line, size, text, number, shade(value, largest)))
        x += size + 1
    return slots


class PromptStrip(CellWidget, can_focus=True):
    """Tokens to walk with the arrow keys. Fill it with :meth:`show`."""

    STYLE_PREFIX = "prompt-strip"
    COMPONENT_CLASSES: ClassVar = {
        *(f"prompt-strip--shade-{i}" for i in range(SHADES + 1)),
        *(f"prompt-strip--{part}" for part in ("value", "cursor", "mark", "empty")),
    }
    DEFAULT_CSS = """
    PromptStrip {
        height: auto; width: 1fr;
        & > .prompt-strip--shade-0 { color: $foreground; }
        & > .prompt-strip--shade-1 { background: $primary 20%; }
        & > .prompt-strip--shade-2 { background: $primary 40%; }
        & > .prompt-strip--shade-3 { background: $primary 60%; }
        & > .prompt-strip--shade-4 { background: $primary 80%; text-style: bold; }
        & > .prompt-strip--cursor { text-style: reverse bold; }
        & > .prompt-strip--mark { text-style: bold; color: $accent; }
        & > .prompt-strip--value { color: $foreground 65%; }
        & > .prompt-strip--empty { color: $foreground 60%; }
    }
    """
    BINDINGS: ClassVar = [
        Binding("left,h", "move(-1)", "Token before", show=False),
        Binding("right,l", "move(1)", "Next token", show=False),
        Binding("up", "line(-1)", "Line above", show=False),
        Binding("down", "line(1)", "Line below", show=False),
        Binding("home", "move(-1000000)", "First token", show=False),
        Binding("end", "move(1000000)", "Last token", show=False),
    ]

    class TokenHighlighted(Message):
        """The cursor came to ``token``; ``moved`` by the person, rather than by another probe."""

        def __init__(self, strip: PromptStrip, token: TokenProbe, moved: bool) -> None:
            super().__init__()
            self.strip = strip
            self.token = token
            self.moved = moved

        @property
        def control(self) -> PromptStrip:
            return self.strip

    def __init__(
        self, empty: str = "no prompt yet", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.empty = empty
        self._probe: PromptProbe | None = None
        self._values: list[float] = []
        self._at = 0

    def records(self) -> list[dict[str, Any]]:
        """Every token with the activation of the followed feature, L0, margin and its strongest features."""
        tokens = self._probe.tokens if self._probe else []
        return [
            {
                "token": token.text,
                "activation": value,
                "L0": token.l0,
                "margin": token.margin,
                "strongest": " ".join(f"{one.feature}:{one.activation:.4g}" for one in token.top),
            }
            for token, value in zip(tokens, self._values, strict=True)
        ]

    @property
    def cursor(self) -> int:
        return self._at

    @property
    def highlighted(self) -> TokenProbe | None:
        return self._probe.tokens[self._at] if self._probe and self._probe.tokens else None

    def show(self, probe: PromptProbe | None, feature: int | None = None, cursor: int | None = None) -> None:
        """Shows ``probe``, shaded by ``feature``: its value in ``followed``, or else among the top.

        The cursor keeps its place in the same prompt; in another one it goes to the strongest token.
        """
        same = probe is not None and self._probe is not None and probe.prompt == self._probe.prompt
        self._probe = probe
        tokens = probe.tokens if probe else []
        self._values = [_activation(token, feature) for token in tokens]
        if cursor is None and not same and self._values:
            cursor = self._values.index(max(self._values)) if any(self._values) else len(tokens) - 1
        self._at = max(0, min(self._at if cursor is None else cursor, len(tokens) - 1))
        self.refresh(layout=True)
        self.redraw()
        self._announce(moved=False)

    def move_to(self, index: int) -> None:
        """Puts the cursor on a token (clamped)."""
        tokens = self._probe.tokens if self._probe else []
        index = max(0, min(len(tokens) - 1, index))
        if tokens and index != self._at:
            self._at = index
            self.redraw()
            self._announce(moved=True)

    def action_move(self, by: int) -> None:
        self.move_to(self._at + by)

    def action_line(self, by: int) -> None:
        slots = self._slots(self.size.width)
        if not slots:
            return
        here = slots[self._at]
        there = [i for i, slot in enumerate(slots) if slot.line == here.line + by]
        if there:
            self.move_to(min(there, key=lambda i: abs(slots[i].x - here.x)))

    def on_click(self, event: events.Click) -> None:
        for i, slot in enumerate(self._slots(self.size.width)):
            if slot.line == event.y // 2 and slot.x <= event.x < slot.x + slot.width:
                self.move_to(i)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        slots = self._slots(width)
        return 2 * (slots[-1].line + 1) if slots else 1

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        slots = self._slots(width)
        if not slots:
            grid.text(0, 0, self.empty, "empty")
        for i, slot in enumerate(slots):
            here = i == self._at and self.has_focus
            style = "cursor" if here else f"shade-{slot.shade}"
            grid.text(slot.x, 2 * slot.line, slot.text, style)
            if slot.value:
                grid.text(slot.x, 2 * slot.line + 1, slot.value, "mark" if i == self._at else "value")
            elif i == self._at:
                grid.text(slot.x, 2 * slot.line + 1, "▔" * cell_len(slot.text), "mark")
        return grid

    def _slots(self, width: int) -> list[_Slot]:
        return (
            lay_out([token.text for token in self._probe.tokens], self._values, width) if self._probe else []
        )

    def _announce(self, moved: bool) -> None:
        if token := self.highlighted:
            self.post_message(self.TokenHighlighted(self, token, moved))


def _activation(token: TokenProbe, feature: int | None) -> float:
    return next((f.activation for f in (*token.followed, *token.top) if f.feature == feature), 0.0)
