"""The styles of a widget that draws its own lines, looked up once per change of the style sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.style import Style
    from textual.widget import Widget

    Base = Widget
else:
    # No widget at run time: Textual takes a widget's default CSS from its first base that is one.
    Base = object


class LineStyles(Base):
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
