"""The contexts pane: the tokens that activate the feature most, or samples from every strength."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from saetui.quantities import percent, short
from saetui.tui.panes.pane import Pane
from saetui.tui.selection import Selected
from saetui.tui.session import Session
from saetui.tui.shell_words import command
from saetui.tui.widgets.context_list import ContextList, Section

if TYPE_CHECKING:
    from saetui.features.results import Contexts

AGAIN_S = 2.0
"""Seconds between two looks at a feature while the corpus is still being read."""
WIDTHS = ((5, 4), (12, 8), (30, 12))
"""Tokens before and after, from narrow to wide."""


class ContextsPane(Pane):
    NUMBER = 2
    TITLE = "top-activating tokens"

    class Known(Message):
        """The contexts of the selected feature are (better) known."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.shown: Contexts | None = None
        self._shown_for: Selected | None = None
        self.intervals = False
        self._width = 0
        self._again: Timer | None = None

    def compose_content(self) -> ComposeResult:
        yield Static("", classes="facts", markup=False)
        yield ContextList(empty="")

    def on_mount(self) -> None:
        self._again = self.set_interval(AGAIN_S, self._look_again, pause=True)
        super().on_mount()

    def focus_main(self) -> None:
        self.query_one(ContextList).focus()

    def known_for(self, selected: Selected) -> Contexts | None:
        """The contexts of ``selected``, if they are what is shown."""
        return self.shown if selected == self._shown_for else None

    def toggle_intervals(self) -> None:
        self.intervals = not self.intervals
        self._show()

    def _look_again(self) -> None:
        if not self.loading_now:
            self.reload()

    def widen(self) -> None:
        self._width = (self._width + 1) % len(WIDTHS)
        self.reload()

    async def load(self, selected: Selected) -> None:
        self.shown = await self.session.contexts(selected, *WIDTHS[self._width])
        self._shown_for = selected
        if self._again is not None:
            (self._again.pause if self.shown.complete else self._again.resume)()
        self._show()
        self.post_message(self.Known())

    def _show(self) -> None:
        known = self.shown
        if known is None:
            return
        reading = "" if known.complete else " so far; the corpus is still being read"
        self.query_one(".facts", Static).update(
            f"density {percent(known.density)} · max {known.max_activation:.2f} · "
            f"fired on {short(known.fired)} of {short(known.tokens_read)} tokens{reading}"
        )
        self._show_histogram(known)
        if self.intervals:
            sections = [
                Section(f"{i.low:.2f} < activation ≤ {i.high:.2f}, {short(i.count)} tokens:", i.contexts)
                for i in known.intervals
            ]
        else:
            sections = [Section("", known.top)]
        empty = "never fires on what was read" if known.complete else "not fired yet"
        self.query_one(ContextList).show(sections, known.max_activation, empty)
        self.border_subtitle = (
            "quantile intervals · i top" if self.intervals else "top · i intervals · x wider"
        )

    def _show_histogram(self, known: Contexts) -> None:
        # It comes with the first feature that fires: it and its imports are nothing to wait for before.
        from saetui.tui.widgets.histogram import Histogram

        if known.fired and not self.query(Histogram):
            self.mount(Histogram(), before=self.query_one(ContextList))
        for histogram in self.query(Histogram):
            histogram.display = known.fired > 0
            histogram.show(known.edges, known.histogram)

    def twins(self, feature: int, encoder: list[str]) -> list[str]:
        before, after = WIDTHS[self._width]
        shown = ["--intervals", 5, "--top", 0] if self.intervals else ["--top", 20]
        return [command("contexts", feature, *shown, "--before", before, "--after", after, *encoder)]

    def as_text(self) -> str:
        return "\n".join(
            f"{context.activation:.4f}\t{''.join(context.tokens[: context.center])}"
            f"«{context.tokens[context.center]}»{''.join(context.tokens[context.center + 1 :])}".replace(
                "\n", "↵"
            )
            for context in self.query_one(ContextList).contexts
        )
