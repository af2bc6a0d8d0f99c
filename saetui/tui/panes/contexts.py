"""The contexts pane: the tokens that activate the feature most, or samples from every strength."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from saetui.errors import UserError
from saetui.quantities import percent, short
from saetui.tui.actions import bindings
from saetui.tui.panes.pane import Pane
from saetui.tui.selection import Selected
from saetui.tui.session import Session
from saetui.tui.shell_words import command
from saetui.tui.widgets.context_list import ContextList, Section

if TYPE_CHECKING:
    from saetui.features.results import Context, Contexts
    from saetui.tui.widgets.canvas import Symbols
    from saetui.tui.widgets.histogram import Histogram

AGAIN_S = 2.0
"""Seconds between two looks at a feature while the corpus is still being read."""
PAGE = 300
"""Contexts fetched at once while all of them are shown."""
AHEAD = 100
"""Contexts below the cursor from which the next ones are fetched."""
WIDTHS = ((5, 4), (12, 8), (30, 12))
"""Tokens before and after, from narrow to wide."""


class ContextsPane(Pane):
    NUMBER = 2
    TITLE = "top-activating tokens"
    BINDINGS = bindings("values")

    class Known(Message):
        """The contexts of the selected feature are (better) known."""

    def __init__(self, session: Session, symbols: Symbols = "braille") -> None:
        super().__init__(session)
        self._symbols: Symbols = symbols
        self._histogram: Histogram | None = None
        self.shown: Contexts | None = None
        self._shown_for: Selected | None = None
        self.intervals = False
        self.all = False
        """Whether every token that the feature fires on is shown, as far as it has been fetched."""
        self._fetched: list[Context] = []
        self._fired = 0
        """How many there are to be fetched."""
        self._width = 0
        self._again: Timer | None = None

    def compose_content(self) -> ComposeResult:
        yield Static("", classes="facts", markup=False)
        yield ContextList(empty="")

    def on_mount(self) -> None:
        self._again = self.set_interval(AGAIN_S, self._look_again, pause=True)
        super().on_mount()

    @property
    def main(self) -> Widget:
        return self.query_one(ContextList)

    def known_for(self, selected: Selected) -> Contexts | None:
        """The contexts of ``selected``, if they are what is shown."""
        return self.shown if selected == self._shown_for else None

    def toggle_intervals(self) -> None:
        self.intervals, self.all = not self.intervals, False
        self._show()

    def toggle_all(self) -> None:
        self.all, self.intervals = not self.all, False
        if self.all:
            self.reload()
        else:
            self._show()

    def cancel(self) -> bool:
        """As every pane; where all contexts were being fetched, the top ones are shown again."""
        if not super().cancel():
            return False
        if self.all:
            self.all = False
            self.say("")
            self._show()
        return True

    def action_read(self, by: int) -> None:
        """Walks the histogram."""
        if self._histogram:
            self._histogram.move(by)

    def hide_crosshair(self) -> bool:
        """Whether there was one."""
        return self._histogram is not None and self._histogram.hide()

    def _look_again(self) -> None:
        if not self.loading_now and not self.all:
            self.reload()

    def widen(self) -> None:
        self._width = (self._width + 1) % len(WIDTHS)
        self.reload()

    async def load(self, selected: Selected) -> None:
        self.shown = await self.session.contexts(selected, *WIDTHS[self._width])
        anew, self._shown_for = selected != self._shown_for, selected
        if self._again is not None:
            (self._again.pause if self.shown.complete else self._again.resume)()
        if self.all:
            await self._fetch(selected, 0)
        self._show(anew)
        self.post_message(self.Known())

    async def _fetch(self, selected: Selected, start: int) -> None:
        """The contexts from the ``start``-th on; the first time the engine looks for all of them."""
        page = await self.session.firings(selected, start, PAGE, *WIDTHS[self._width], self._progress)
        self._fetched = [*self._fetched[:start], *page.contexts]
        self._fired = page.fired

    def _progress(self, message: dict[str, Any]) -> None:
        self.say(f"looking for every firing: {message.get('message', '')} · esc stops it")

    def on_context_list_highlighted(self, message: ContextList.Highlighted) -> None:
        if self.all and message.index + AHEAD > len(self._fetched) < self._fired and not self.loading_now:
            assert self.selected is not None
            self.run_worker(self._fetch_more(self.selected), group=f"load-{self.id}", exclusive=True)

    async def _fetch_more(self, selected: Selected) -> None:
        try:
            with self.asking():
                await self._fetch(selected, len(self._fetched))
        except UserError as error:
            self.say(str(error), error=True)
        else:
            self._show()

    def _show(self, anew: bool = False) -> None:
        known = self.shown
        if known is None:
            return
        reading = "" if known.complete else " so far; the corpus is still being read"
        self.query_one(".facts", Static).update(
            f"density {percent(known.density)} · max {known.max_activation:.2f} · "
            f"fired on {short(known.fired)} of {short(known.tokens_read)} tokens{reading}"
        )
        self._show_histogram(known)
        if self.all:
            more = f", {short(len(self._fetched))} fetched" if len(self._fetched) < self._fired else ""
            sections = [Section(f"all {self._fired:,} firings, strongest first{more}:", self._fetched)]
        elif self.intervals:
            sections = [
                Section(f"{i.low:.2f} < activation ≤ {i.high:.2f}, {short(i.count)} tokens:", i.contexts)
                for i in known.intervals
            ]
        else:
            sections = [Section("", known.top)]
        empty = "never fires on what was read" if known.complete else "not fired yet"
        self.query_one(ContextList).show(sections, known.max_activation, empty, anew)
        shown = "all · a top" if self.all else "quantile intervals · i top" if self.intervals else ""
        self.border_subtitle = shown or "top · i intervals · a all · x wider · ←→ values"

    def _show_histogram(self, known: Contexts) -> None:
        # It comes with the first feature that fires: it and its imports are nothing to wait for before.
        from saetui.tui.widgets.histogram import Histogram

        if known.fired and self._histogram is None:
            self._histogram = Histogram(self._symbols)
            self.mount(self._histogram, before=self.query_one(ContextList))
        if histogram := self._histogram:
            histogram.display = known.fired > 0
            histogram.show(known.edges, known.histogram)

    def twins(self, feature: int, encoder: list[str]) -> list[str]:
        before, after = WIDTHS[self._width]
        shown = ["--intervals", 5, "--top", 0] if self.intervals else ["--top", 20]
        if self.all:
            shown = ["--top", max(self._fired, 1)]
        return [command("contexts", feature, *shown, "--before", before, "--after", after, *encoder)]

    def as_text(self) -> str:
        return "\n".join(
            f"{context.activation:.4f}\t{''.join(context.tokens[: context.center])}"
            f"«{context.tokens[context.center]}»{''.join(context.tokens[context.center + 1 :])}".replace(
                "\n", "↵"
            )
            for context in self.query_one(ContextList).contexts
        )
