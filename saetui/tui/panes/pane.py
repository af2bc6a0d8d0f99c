"""What all panes of the workbench share: they follow the selected feature, and only while shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.css.query import NoMatches
from textual.geometry import Region
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from saetui.errors import UserError
from saetui.tui.selection import Selected
from saetui.tui.shell_words import encoder_words

if TYPE_CHECKING:
    from saetui.tui.session import Session

SLOW_S = 0.1
"""Seconds after which a person asks whether anything is happening."""


class Pane(Vertical):
    """A titled part of the workbench.

    A pane that is not shown asks the engine nothing: ``follow`` notes the feature, and ``load`` is
    called when the pane is on the screen and the engine is ready. A newer feature cancels the
    question about an older one.
    """

    NUMBER: ClassVar[int]
    TITLE: ClassVar[str]

    class Activated(Message):
        """The person moved into this pane."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

    class FeatureChosen(Message):
        """The person chose a feature in this pane, or came by it (``passing``): the workbench selects it."""

        def __init__(self, selected: Selected, passing: bool = False) -> None:
            super().__init__()
            self.selected = selected
            self.passing = passing

    def __init__(self, session: Session) -> None:
        self._titling = False
        super().__init__(id=f"pane-{self.NUMBER}")
        self.border_title = f"{self.NUMBER} {self.TITLE}"
        self.session = session
        self.selected: Selected | None = None
        self._asking = 0
        """Answers that are awaited; a question that was overtaken ends a little after the next has begun."""
        self._slow = False
        self._loaded: Selected | None = None
        self._marked = False
        self._message = Static("", classes="message", markup=False)
        self._message.display = False

    def compose_content(self) -> ComposeResult:
        """The widgets beneath the message line."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        yield self._message
        yield from self.compose_content()

    @property
    def main(self) -> Widget:
        """Where a person who enters the pane wants the focus."""
        raise NotImplementedError

    def focus_main(self) -> None:
        """At once and without drawing anything, unlike ``Widget.focus``."""
        self.screen.set_focus(self.main, scroll_visible=False)

    async def load(self, selected: Selected) -> None:
        """Asks the engine about ``selected`` and shows the answer. May raise UserError."""

    def as_text(self) -> str:
        """What the pane shows, as plain text to copy."""
        return ""

    def headless(self) -> list[str]:
        """The commands that show the same in a shell."""
        words = None if self.selected is None else encoder_words(self.session, self.selected.sae)
        return [] if self.selected is None or words is None else self.twins(self.selected.feature, words)

    def twins(self, feature: int, encoder: list[str]) -> list[str]:
        """``headless`` for a feature of the encoder that the options ``encoder`` name."""
        return []

    def follow(self, selected: Selected | None) -> None:
        self.selected = selected
        self.freshen()

    def reload(self) -> None:
        """Asks again about the same feature: the answer may have changed."""
        self._loaded = None
        self.freshen()

    def freshen(self) -> None:
        """Loads what should be shown, if it is not yet, and if the pane is shown and the engine is ready."""
        if self.selected is None or self.selected == self._loaded or not self.display:
            return
        if self.session.opened is None or not self.is_mounted:
            return
        self._loaded = self.selected
        self.run_worker(partial(self._load, self.selected), group=f"load-{self.id}", exclusive=True)

    @property
    def loading_now(self) -> bool:
        """Whether an answer is awaited."""
        return self._asking > 0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around a question to the engine: the title says so where the answer takes long enough to notice."""
        self._asking += 1
        timer = self.set_timer(SLOW_S, self._say_slow)
        try:
            yield
        finally:
            timer.stop()
            self._asking -= 1
            if self._slow and not self._asking:
                self._slow = False
                self._show_title()

    def _say_slow(self) -> None:
        self._slow = self.loading_now
        self._show_title()

    def cancel(self) -> bool:
        """Gives up the question under way; whether there was one. The same feature is asked about again when
        it is chosen again."""
        if not self.loading_now:
            return False
        self.workers.cancel_group(self, f"load-{self.id}")
        self.say("stopped")
        return True

    async def _load(self, selected: Selected) -> None:
        try:
            with self.asking():
                await self.load(selected)
        except UserError as error:
            self._loaded = None
            self.say(str(error), error=True)
        except NoMatches:
            # Workers are cancelled only after the widgets inside have gone: an answer may come in between.
            if self.is_running:
                raise
        else:
            self.say("")

    def mark(self, active: bool) -> None:
        """Brackets and reverses the title of the pane with the focus."""
        if active != self._marked:
            self._marked = active
            self._show_title()

    def _show_title(self) -> None:
        """By markup rather than by a class or a style: either would have every widget inside drawn anew, at
        every move of the focus."""
        title = f"{self.NUMBER} {self.TITLE}" + (" …" if self._slow else "")
        self._titling = True
        self.border_title = rf"[bold reverse]\[{title}][/]" if self._marked else title
        self._titling = False

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Self:
        """The whole pane with all that is inside; for another title only the line that it stands in."""
        if self._titling:
            x, y = self.content_offset
            regions = (Region(-x, -y, self.outer_size.width, 1),)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def say(self, line: str, error: bool = False) -> None:
        """One line at the top of the pane; empty takes it away."""
        self._message.update(line)
        self._message.set_class(error, "-error")
        self._message.display = bool(line)

    def on_mount(self) -> None:
        self.freshen()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.post_message(self.Activated(self))
