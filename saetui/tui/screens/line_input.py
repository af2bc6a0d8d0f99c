"""One line of text asked for in a dialog."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input


class LineInput(ModalScreen[str | None]):
    """Dismisses with the line, or None when the person thought better of it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close")]

    def __init__(
        self, title: str, value: str = "", enter: str = "keeps", escape: str = "leaves as it was"
    ) -> None:
        super().__init__()
        self._title, self._value = title, value
        self._does = f"enter {enter} · esc {escape}"

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="line") as body:
            body.border_title = self._title
            body.border_subtitle = self._does
            yield Input(self._value, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())
