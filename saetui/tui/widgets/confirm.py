"""A question before something that cannot be taken back."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static


class Confirm(ModalScreen[bool]):
    """Answers True for ``y`` alone; False for ``n``, escape or a click beside it. Enter, which is pressed by
    habit, answers nothing."""

    DEFAULT_CSS = """
    Confirm { align: center middle; }
    Confirm > Vertical {
        width: 56; max-width: 95%; height: auto; padding: 1 2;
        background: $surface; border: round $warning;
    }
    Confirm Static { width: 1fr; }
    Confirm #confirm-keys { color: $foreground 70%; margin-top: 1; }
    """
    BINDINGS: ClassVar = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
    ]

    def __init__(self, question: str, yes: str = "yes", no: str = "leave it") -> None:
        super().__init__()
        self._question = question
        self._yes, self._no = yes, no

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question, markup=False)
            yield Static(f"y {self._yes}   n {self._no}", id="confirm-keys", markup=False)

    def on_click(self, event) -> None:
        if event.widget is self:
            self.dismiss(False)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
