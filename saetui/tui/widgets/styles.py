"""What widgets that draw their own lines have in common: their styles, looked up once per change of the style
sheet, and that the focus changes no more lines than it must."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saetui.tui.widgets.quiet_focus import QuietFocus

if TYPE_CHECKING:
    from rich.style import Style


class LineStyles(QuietFocus):
    """``_style(name)`` is the component class ``{STYLE_PREFIX}--{name}``; without a name, the widget's own
    style, which Textual puts together from all ancestors every time it is asked."""

    STYLE_PREFIX = ""
    _styles_by_name: dict[str, Style] | None = None

    def _style(self, name: str = "") -> Style:
        if self._styles_by_name is None:
            self._styles_by_name = {}
        if name not in self._styles_by_name:
            self._styles_by_name[name] = (
                self.get_component_rich_style(f"{self.STYLE_PREFIX}--{name}") if name else self.rich_style
            )
        return self._styles_by_name[name]

    def notify_style_update(self) -> None:
        self._styles_by_name = None
        super().notify_style_update()
