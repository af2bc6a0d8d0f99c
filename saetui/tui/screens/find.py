"""Finding a feature: by number, by a token that it fires on, by a word that it boosts, among one's own notes.

With nothing typed it lists what was bookmarked, noted and visited. What the workbench itself knows is listed
at once; what the index knows follows a moment after the last key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, Static

from saetui.errors import UserError
from saetui.feature_marks import FeatureMarks, Mark
from saetui.quantities import percent
from saetui.reports.found_text import why
from saetui.tui.panes.pane_table import PaneTable
from saetui.tui.selection import Selected
from saetui.tui.session import Session
from saetui.tui.widgets.table import Column
from saetui.visible import visible

if TYPE_CHECKING:
    from saetui.features.results import Findings, Found

AFTER_KEY_S = 0.08
"""Seconds without a key after which the index is asked."""
KINDS: tuple[tuple[str | None, str], ...] = (
    (None, "all"), ("token", "fires on"), ("boosted", "boosts"), ("note", "notes"),
)  # fmt: skip
"""What is looked for: the engine's word for it, and a person's."""


@dataclass(frozen=True)
class Line:
    """A feature of an open SAE, or a mark on one that may have to be opened first."""

    at: Selected | Mark
    why: str
    star: bool = False
    density: float | None = None
    max_activation: float | None = None

    @property
    def key(self) -> tuple[str, int, str]:
        return (self.at.sae, self.at.feature, self.why)


class FindScreen(ModalScreen[Selected | Mark | None]):
    """Dismisses with the chosen feature."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("tab", "kind(1)", show=False),
        Binding("shift+tab", "kind(-1)", show=False),
    ]

    def __init__(
        self, session: Session, marks: FeatureMarks, current: Selected, recent: list[Selected]
    ) -> None:
        super().__init__()
        self._session, self._marks, self._current, self._recent = session, marks, current, recent
        self._sizes = {current.sae: 0, **session.sizes}
        self._kind = 0
        self._timer: Timer | None = None
        self._refused = False
        """Whether the engine did not answer what was asked last."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="find") as body:
            body.border_title = f"Find a feature of {self._session.title(self._current.sae)}"
            body.border_subtitle = "↑↓ enter goes · tab what is looked for · esc closes"
            yield Input(placeholder=self._placeholder(), compact=True, id="wanted")
            yield Static("", id="kinds", markup=False)
            yield Static("", classes="message", markup=False)
            yield PaneTable(
                [
                    Column("feature", _feature, 9, right=True),
                    Column("density", lambda line: _number(line.density, percent), 7, right=True, drop=1),
                    Column("max", lambda line: _number(line.max_activation, "{:.2f}".format), 6, right=True,
                           drop=2),
                    Column("why", self._why, 30, grow=True),
                ],
                key=lambda line: line.key,
                empty="",
            )  # fmt: skip

    def on_mount(self) -> None:
        self._marks.refresh()
        self.query_one(PaneTable).can_focus = False  # the keys are the input's; arrows reach the list from it
        self._session.listen(self._engine_changed)
        self._look()

    def on_unmount(self) -> None:
        self._session.forget(self._engine_changed)

    def _engine_changed(self) -> None:
        """What was asked before the engine was ready is asked again once it is."""
        if self._refused and self._session.opened is not None and self.is_running:
            self._sizes = {**self._sizes, **self._session.sizes}
            self._look()

    def _placeholder(self) -> str:
        others = [name for name in self._sizes if name != self._current.sae]
        size = self._sizes[self._current.sae]
        number = f"0–{size - 1}" if size else "number"
        elsewhere = f", e.g. {others[0]} 17" if others else ""
        return f"{number}{elsewhere}, a token or a word"

    # -- keys

    def action_move(self, by: int) -> None:
        self.query_one(PaneTable).action_move(by)

    def action_page(self, by: int) -> None:
        self.query_one(PaneTable).action_page(by)

    def action_kind(self, by: int) -> None:
        self._kind = (self._kind + by) % len(KINDS)
        self._look()

    def on_input_changed(self) -> None:
        self._look()

    def on_input_submitted(self) -> None:
        if (line := self.query_one(PaneTable).highlighted) is not None:
            self.dismiss(line.at)

    def on_table_selected(self, message: PaneTable.Selected) -> None:
        message.stop()
        self.dismiss(message.row.at)

    # -- looking

    def _look(self) -> None:
        """Lists what is known here, and asks the index when no key has come for a moment."""
        text, kind = self.query_one("#wanted", Input).value.strip(), KINDS[self._kind][0]
        said = "  ".join(f"[{name}]" if i == self._kind else f" {name} " for i, (_, name) in enumerate(KINDS))
        self.query_one("#kinds", Static).update(said)
        if self._timer is not None:
            self._timer.stop()
        self.workers.cancel_group(self, "find")
        message, lines = "", list[Line]()
        if kind is None and text:
            try:
                lines = [Line(self._numbered(text), "by its number")]
            except ValueError as error:
                message = str(error)
        if kind in (None, "note"):
            lines += self._noted(text)
        if kind is None and not text:
            lines += [Line(place, "visited") for place in self._recent]
        self._show(lines, message)
        if text and kind != "note":
            self._timer = self.set_timer(AFTER_KEY_S, lambda: self._ask(text, kind, lines, message))

    def _ask(self, text: str, kind: str | None, before: list[Line], message: str) -> None:
        async def ask() -> None:
            try:
                found = await self._session.find(self._current.sae, text, kind)
            except UserError as error:
                self._refused = True
                self._show(before, str(error), error=True)
                return
            self._refused = False
            lines = [self._line(one) for one in found.found if one.by != "number"]
            self._show([*before, *lines], message or ("" if lines or before else _nothing(found)), keep=True)

        self.run_worker(ask(), group="find", exclusive=True)

    def _numbered(self, text: str) -> Selected:
        """``240`` is of the SAE in view, ``wide 17`` names another. ValueError with what is wrong, which is
        nothing (an empty message) where the text does not look like a number."""
        *name, number = text.split()
        sae = " ".join(name) or self._current.sae
        matches = [known for known in self._sizes if known == sae] or [
            known for known in self._sizes if known.startswith(sae)
        ]
        if not matches or not number.isdecimal():
            raise ValueError("")
        size = self._sizes[matches[0]]
        if size and int(number) >= size:
            raise ValueError(f"{matches[0]} has features 0–{size - 1}")
        return Selected(matches[0], int(number))

    def _noted(self, text: str) -> list[Line]:
        """The marks of which the note holds every word of ``text``."""
        words = text.casefold().split()
        kept = [m for m in self._marks.kept() if all(word in m.note.casefold() for word in words)]
        return [
            Line(mark, visible(mark.note) or "bookmarked", mark.bookmarked)
            for mark in kept
            if mark.note or not words
        ]

    def _line(self, found: Found) -> Line:
        at = Selected(self._current.sae, found.feature)
        star = self._marks.of(self._session.place(at.sae) or "", at.feature).bookmarked
        return Line(at, why(found), star, found.density, found.max_activation)

    def _show(self, lines: list[Line], message: str, error: bool = False, keep: bool = False) -> None:
        """``keep``: the cursor stays on its line; else it goes to the first one."""
        said = self.query_one(".message", Static)
        said.update(message)
        said.set_class(error, "-error")
        said.display = bool(message)
        table = self.query_one(PaneTable)
        unique = list({line.key: line for line in lines}.values())
        table.fill(unique)
        if unique and not keep:
            table.select_key(unique[0].key)

    def _why(self, line: Line) -> str:
        at = line.at
        if isinstance(at, Mark):
            known = "" if at.sae == self._session.place(self._current.sae) else f"{at.sae} · "
        else:
            known = "" if at.sae == self._current.sae else f"{self._session.title(at.sae)} · "
        return known + line.why


def _feature(line: Line) -> str:
    return f"{'★ ' if line.star else ''}{line.at.feature}"


def _number(value: float | None, text: Callable[[Any], str]) -> str:
    return "" if value is None else text(value)


def _nothing(found: Findings) -> str:
    nothing = f"{found.query!r} is no feature's top token, nor among the 20 tokens that it boosts most"
    return f"{nothing} · {found.note}" if found.note else nothing
