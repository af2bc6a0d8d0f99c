"""Going to a feature by number, or to one of the bookmarks and the features visited before."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from saetui.tui.selection import Selected


class GotoScreen(ModalScreen[Selected | None]):
    """Dismisses with the chosen feature. ``sizes``: features of each known SAE (0: not known yet)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("down", "into_list", "List", show=False),
    ]

    def __init__(
        self, current: Selected, sizes: dict[str, int], bookmarks: list[Selected], recent: list[Selected]
    ) -> None:
        super().__init__()
        self._current = current
        self._sizes = {current.sae: 0, **sizes}
        self._places = list(dict.fromkeys([*bookmarks, *recent]))
        self._bookmarks = set(bookmarks)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="goto") as body:
            body.border_title = "Go to a feature"
            body.border_subtitle = "enter goes · ↓ list · esc closes"
            yield Input(placeholder=self._placeholder(), compact=True, id="number")
            yield Static("", classes="message -error", markup=False)
            if self._places:
                yield OptionList(*(Option(self._label(place)) for place in self._places), compact=True)

    def _placeholder(self) -> str:
        others = [name for name in self._sizes if name != self._current.sae]
        number = "number" if not (size := self._sizes.get(self._current.sae, 0)) else f"0–{size - 1}"
        return f"{number} of {self._current.sae}" + (f", or e.g. {others[0]} 17" if others else "")

    def _label(self, place: Selected) -> Text:
        star = "★" if place in self._bookmarks else " "
        return Text(f"{star} {place.feature:>6}  {place.sae}")

    def action_into_list(self) -> None:
        if self._places:
            self.query_one(OptionList).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            self.dismiss(self.parse(event.value))
        except ValueError as error:
            self.query_one(".message", Static).update(str(error))

    def parse(self, text: str) -> Selected:
        """``240`` is of the SAE in view, ``wide 17`` names another. ValueError with what is wrong."""
        *name, number = text.split() or [""]
        sae = " ".join(name) or self._current.sae
        matches = [known for known in self._sizes if known == sae] or [
            known for known in self._sizes if known.startswith(sae)
        ]
        if not matches:
            raise ValueError(f"no SAE {sae!r} here: {', '.join(self._sizes)}")
        if not number.isdecimal():
            raise ValueError(f"{number!r} is not a feature number")
        size = self._sizes[matches[0]]
        if size and int(number) >= size:
            raise ValueError(f"{matches[0]} has features 0–{size - 1}")
        return Selected(matches[0], int(number))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._places[event.option_index])
