"""The latest events of a run, the newest at the bottom."""

from itertools import pairwise
from typing import Any, ClassVar

from saetui.tui.run_text import event_line
from saetui.tui.widgets.canvas import Grid
from saetui.tui.widgets.cell_widget import CellWidget
from saetui.visible import head, visible


def told(events: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """Of checkpoints in a row only the last: the next one takes its place, and they would bury the rest."""
    return [
        event
        for event, following in pairwise((*events, {}))
        if not event.get("kind") == following.get("kind") == "checkpoint"
    ]


class EventLines(CellWidget):
    """As many of the latest events as there are lines."""

    STYLE_PREFIX = "event-lines"
    COMPONENT_CLASSES: ClassVar = {"event-lines--old", "event-lines--new"}
    DEFAULT_CSS = """
    EventLines {
        height: 3; width: 1fr;
        & > .event-lines--old { color: $foreground 50%; }
        & > .event-lines--new { color: $foreground 85%; }
    }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.events: tuple[dict[str, Any], ...] = ()

    def draw(self, width: int, height: int) -> Grid:
        grid = Grid(width, height)
        shown = told(self.events)[-height:] if height else []
        for i, event in enumerate(shown):
            y = height - len(shown) + i
            style = "new" if i == len(shown) - 1 else "old"
            grid.text(0, y, head(visible(event_line(event)), width), style)
        return grid
