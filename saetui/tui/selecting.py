"""The selected feature, and the ways from it to another: by number, back and forward, by what is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.screen import Screen

from saetui.errors import UserError
from saetui.feature_marks import FeatureMarks, Mark
from saetui.tui.selection import History, Selected
from saetui.tui.session import NARROW, Session


class Selecting:
    """What ``screen`` does to select a feature; ``follow`` is told of every new one, with whether it is only
    walked over. What cannot be done is said there, in one line."""

    def __init__(
        self,
        screen: Screen[Any],
        session: Session,
        marks: FeatureMarks,
        follow: Callable[[bool], None],
    ) -> None:
        self._screen, self._session, self._marks, self._follow = screen, session, marks, follow
        self.history = History()

    @property
    def selected(self) -> Selected:
        current = self.history.current
        assert current is not None  # the screen selects the first one as it opens
        return current

    def select(self, selected: Selected, passing: bool = False) -> None:
        self.history.visit(selected, passing)
        self._follow(passing)

    def step(self, by: int) -> None:
        """Back or forward through those visited."""
        if self.history.step(by) is not None:
            self._follow(False)
        else:
            self._screen.notify(f"no feature was visited {'before' if by < 0 else 'after'} this one")

    def neighbouring(self, by: int) -> None:
        """By number, going round at both ends."""
        selected = self.selected
        if size := self._session.size(selected.sae):
            self.select(Selected(selected.sae, (selected.feature + by) % size))
        else:
            self._screen.notify(f"how many features it has is not known yet: {self._session.state.line}")

    def target(self) -> None:
        self.select(Selected(NARROW, self._session.target))

    def find(self) -> None:
        from saetui.tui.screens.find import FindScreen

        screen = FindScreen(self._session, self._marks, self.selected, self.history.recent(20))
        self._screen.app.push_screen(screen, self.go)

    def go(self, chosen: Selected | Mark | None) -> None:
        """To a feature that was chosen elsewhere; a ``Mark`` is of an SAE that may not be open any more."""
        if isinstance(chosen, Selected):
            self.select(chosen)
        elif chosen is not None:
            self._screen.run_worker(self._go_to(chosen), group="go", exclusive=True)

    async def _go_to(self, mark: Mark) -> None:
        try:
            self.select(Selected(await self._session.at_place(mark.sae), mark.feature))
        except UserError as error:
            self._screen.notify(str(error), severity="warning")
