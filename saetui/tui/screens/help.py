"""The help screen: the actions registry, with the keys as they are bound now (remapped ones too)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from saetui.tui.actions import ACTIONS, PLACES, Action, pretty_key

IN_LISTS = "arrows or h j k l walk lists and tokens · enter chooses · pgup pgdn home end · mouse works too"


def key_names(app_keymap: dict[str, str], action: Action) -> str:
    """The keys of ``action`` as a person reads them."""
    keys = app_keymap.get(action.id, action.keys)
    return " ".join(pretty_key(key.strip()) for key in keys.split(","))


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,f1", "dismiss", "Close")]

    def __init__(self, keymap: dict[str, str], here: Iterable[str] = ()) -> None:
        """``here``: actions of the screen that asks; their places come first."""
        super().__init__()
        self._keymap = keymap
        own = {action.where for action in ACTIONS if action.id in set(here)} - {"app"}
        self._places = sorted(PLACES, key=lambda place: place not in own)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", id="help") as body:
            body.border_title = "Keys"
            body.border_subtitle = "esc closes"
            yield Static(self._table())

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        for place in self._places:
            title = PLACES[place]
            actions = [action for action in ACTIONS if action.where == place]
            if not actions:
                continue
            table.add_row(Text(title, style="bold"), "")
            for action in actions:
                table.add_row(Text(f"  {key_names(self._keymap, action)}"), Text(action.help))
            table.add_row("", "")
        table.add_row(Text("Lists", style="bold"), "")
        table.add_row("", Text(IN_LISTS))
        return table
