"""The keys of the moment in one line at the bottom.

Textual's own footer is a widget per key, all made anew whenever the focus moves: on a slow machine that
alone takes longer than a key may take. This one draws a line, and leaves out what has no room.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import App
from textual.screen import Screen
from textual.widget import Widget

from saetui.tui.actions import pretty_key


class KeyLine(Widget):
    COMPONENT_CLASSES = {"key-line--key"}  # noqa: RUF012
    DEFAULT_CSS = """
    KeyLine {
        height: 1; padding: 0 1; link-style: none;
        color: $footer-foreground; background: $footer-background;
    }
    KeyLine > .key-line--key { color: $footer-key-foreground; text-style: bold; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[tuple[str, str, str]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._look)
        self._look(self.screen)

    def _look(self, screen: Screen[object]) -> None:
        entries = self._read(screen)
        if entries != self._entries:
            self._entries = entries
            self.refresh()

    @staticmethod
    def _read(screen: Screen[object]) -> list[tuple[str, str, str]]:
        """Key, label and action of every binding to show, each action once."""
        found: dict[str, tuple[str, str, str]] = {}
        for node, binding, enabled, _ in screen.active_bindings.values():
            if binding.show and enabled and binding.action not in found:
                owner = "app" if isinstance(node, App) else "screen"
                found[binding.action] = (
                    pretty_key(binding.key),
                    binding.description,
                    f"{owner}.{binding.action}",
                )
        return list(found.values())

    def render(self) -> Text:
        key_style = self.get_component_rich_style("key-line--key", partial=True)
        line = Text(no_wrap=True)
        room = self.size.width
        for key, label, action in self._entries:
            entry = f"{key} {label}  "
            room -= cell_len(entry)
            if room < -2:
                break
            click = Style(meta={"@click": action})
            line.append(key, key_style + click)
            line.append(f" {label}  ", click)
        return line
