"""What a person keeps of the selected feature: a bookmark, a note."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.screen import Screen

from saetui.errors import UsageError
from saetui.feature_marks import FeatureMarks, Mark, check_exists
from saetui.tui import disk
from saetui.tui.selection import Selected
from saetui.tui.session import Session


class Marking:
    """What ``screen`` does to keep something of the feature that ``selected`` gives; ``kept`` is called once
    it is written. What cannot be kept is said there, in one line."""

    def __init__(
        self,
        screen: Screen[Any],
        session: Session,
        marks: FeatureMarks,
        selected: Callable[[], Selected],
        kept: Callable[[], None],
    ) -> None:
        self._screen, self._session, self._marks = screen, session, marks
        self._selected, self._kept = selected, kept

    @property
    def mark(self) -> Mark:
        selected = self._selected()
        return self._marks.of(self._session.place(selected.sae) or "", selected.feature)

    async def bookmark(self) -> None:
        """Sets it, or takes it away."""
        on = not self.mark.bookmarked
        await self._keep(lambda sae, feature: self._marks.bookmark(sae, feature, on))

    def note(self) -> None:
        """Asks for the note."""
        from saetui.tui.screens.line_input import LineInput

        selected = self._selected()

        async def keep(note: str | None) -> None:
            if note is not None and selected == self._selected():
                await self._keep(lambda sae, feature: self._marks.note(sae, feature, note))

        title = f"Note on feature {selected.feature} of {self._session.title(selected.sae)}"
        self._screen.app.push_screen(LineInput(title, self.mark.note), keep)

    async def _keep(self, write: Callable[[str, int], None]) -> None:
        selected = self._selected()
        if (place := self._session.place(selected.sae)) is None:
            self._say("this graft is no run yet, so that nothing can be kept of it", "warning")
            return
        try:
            if (size := self._session.size(selected.sae)) is not None:
                check_exists(selected.feature, size, self._session.title(selected.sae))
            await disk.write(write, place, selected.feature)
        except UsageError as error:
            self._say(str(error), "warning")
        except OSError as error:
            self._say(f"not kept: {self._marks.path}: {error.strerror}", "error")
        self._kept()

    def _say(self, line: str, severity: Any) -> None:
        self._screen.notify(line, severity=severity)
