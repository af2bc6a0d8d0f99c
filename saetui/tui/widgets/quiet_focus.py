"""Widgets that draw, when the focus comes or goes, only what tells that it did.

Textual draws the whole widget anew then, once for the event and once for its styles, which it puts together
from all rules: for a list that fills a pane, most of what a key costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.widget import Widget

if TYPE_CHECKING:
    Base = Widget
else:
    # No widget at run time: Textual takes a widget's default CSS from its first base that is one.
    Base = object


class QuietFocus(Base):
    """Before a widget among the bases. Rules with ``:focus`` do not apply: ``has_focus`` tells, and
    :meth:`focus_moved` refreshes what it changes."""

    def focus_moved(self) -> None:
        """The focus has come or gone; by default nothing looks different for it."""

    def on_focus(self, event: events.Focus) -> None:
        self._take(event, True, events.DescendantFocus(self))

    def on_blur(self, event: events.Blur) -> None:
        self._take(event, False, events.DescendantBlur(self))

    def _take(self, event: events.Event, focus: bool, news: events.Event) -> None:
        event.prevent_default()
        self.set_reactive(Widget.has_focus, focus)
        self.focus_moved()
        if self.parent is not None:
            self.parent.post_message(news)
