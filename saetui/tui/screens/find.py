"""Finding a feature: by number, by a token that it fires on, by a word that it boosts, among one's own notes.

With nothing typed it lists what was bookmarked, noted and visited. What the workbench itself knows is listed
at once; what the index knows follows a moment after the last key.
"""

from __future__ import annotations

import asyncio
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
FOUND_BY: dict[str | None, tuple[str, ...]] = {
    None: ("token", "boosted"), "token": ("token",), "boosted": ("boosted",), "note": (),
}  # fmt: skip
"""What the index finds of each kind; numbers and notes are known here."""


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
        self._text = ""
        self._findings: Findings | None = None
        """What the index knows of the text, once it has answered."""
        self._refused = ""
        """Why it did not answer."""

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
        self.query_one(PaneTable).can_focus = False  # the keys are the input's; arrows reach the list from it
        self._session.listen(self._engine_changed)
        self._look()
        self.run_worker(self._read_marks(), group="marks")

    async def _read_marks(self) -> None:
        """What another workbench has written a moment ago is found too."""
        if await asyncio.to_thread(self._marks.refresh):
            self._look()

    def on_unmount(self) -> None:
        self._session.forget(self._engine_changed)

    def _engine_changed(self) -> None:
        """What was asked before the engine was ready is asked again once it is."""
        if self._refused and self._session.opened is not None and self.is_running:
            self._sizes = {**self._sizes, **self._session.sizes}
            self._look(again=True)

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
        self._show()

    def on_input_changed(self) -> None:
        self._look()

    def on_input_submitted(self) -> None:
        if (line := self.query_one(PaneTable).highlighted) is not None:
            self.dismiss(line.at)

    def on_table_selected(self, message: PaneTable.Selected) -> None:
        message.stop()
        self.dismiss(message.row.at)

    # -- looking

    def _look(self, again: bool = False) -> None:
        """Lists what is known here, and asks the index about a new text (or ``again``) once no key has come
        for a moment: about all kinds at once, as every kind says how many there are of it."""
        text = self.query_one("#wanted", Input).value.strip()
        if text != self._text or again:
            self._text, self._findings, self._refused = text, None, ""
            if self._timer is not None:
                self._timer.stop()
            self.workers.cancel_group(self, "find")
            if text:
                self._timer = self.set_timer(AFTER_KEY_S, lambda: self._ask(text))
        self._show()

    def _ask(self, text: str) -> None:
        async def ask() -> None:
            try:
                self._findings = await self._session.find(self._current.sae, text)
            except UserError as error:
                self._refused = str(error)
            if self.query(PaneTable):  # workers are cancelled only after the widgets inside have gone
                self._show(keep=True)

        self.run_worker(ask(), group="find", exclusive=True)

    def _lines(self, kind: str | None) -> tuple[list[Line], str]:
        """Those of a kind, and what is wrong with the text, if anything is."""
        text, lines, wrong = self._text, list[Line](), ""
        if kind is None and text:
            try:
                lines = [Line(self._numbered(text), "by its number")]
            except ValueError as error:
                wrong = str(error)
        if kind in (None, "note"):
            lines += self._noted(text)
        if kind is None and not text:
            lines += [Line(place, "visited") for place in self._recent]
        if self._findings is not None:
            lines += [self._line(one) for one in self._findings.found if one.by in FOUND_BY[kind]]
        return list({line.key: line for line in lines}.values()), wrong

    def _show(self, keep: bool = False) -> None:
        """``keep``: the cursor stays on its line; else it goes to the first one."""
        kind = KINDS[self._kind][0]
        lines, wrong = self._lines(kind)
        message = wrong or ("" if kind == "note" else self._refused)
        if not message and self._findings is not None and kind != "note":
            message = self._findings.note if lines else _nothing(self._findings, kind)
        said = self.query_one(".message", Static)
        said.update(message)
        said.set_class(bool(self._refused), "-error")
        said.display = bool(message)
        self.query_one("#kinds", Static).update("  ".join(map(self._tab, range(len(KINDS)))))
        table = self.query_one(PaneTable)
        table.fill(lines)
        if lines and not keep:
            table.select_key(lines[0].key)

    def _tab(self, at: int) -> str:
        """What is looked for, with how many there are once that is known."""
        kind, name = KINDS[at]
        asked = self._findings is not None or kind == "note"
        label = f"{name} {len(self._lines(kind)[0])}" if self._text and asked else name
        return f"[{label}]" if at == self._kind else f" {label} "

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


def _nothing(found: Findings, kind: str | None) -> str:
    none = {
        "token": "no feature's top token",
        "boosted": "not among the 20 tokens that any feature boosts most",
        None: "no feature's top token, nor among the 20 tokens that it boosts most",
    }
    nothing = f"{found.query!r} is {none[kind]}"
    return f"{nothing} · {found.note}" if found.note else nothing
