"""Line plots: live, over one x axis of several, with smoothing, a log scale and a crosshair."""

from typing import ClassVar

from textual import events
from textual.binding import Binding
from textual.message import Message

from saetui.plots.palette import series_classes, series_css
from saetui.tui.widgets.canvas import Grid
from saetui.tui.widgets.cell_widget import CellWidget
from saetui.tui.widgets.plot_model import PlotModel


class LinePlot(CellWidget, can_focus=True):
    """Shows a :class:`PlotModel`. Change ``plot.model``, then call :meth:`redraw`."""

    STYLE_PREFIX = "line-plot"
    ALLOW_MAXIMIZE = True
    COMPONENT_CLASSES: ClassVar = {
        *series_classes("line-plot"),
        *(f"line-plot--{part}" for part in ("title", "active", "axis", "axis-name")),
        *(f"line-plot--{part}" for part in ("crosshair", "flag", "alert")),
    }
    DEFAULT_CSS = (
        series_css("LinePlot", "line-plot")
        + """
    LinePlot {
        width: 1fr; height: 1fr; min-width: 8; min-height: 3;
        & > .line-plot--title { color: $foreground; text-style: bold; }
        & > .line-plot--active { color: $foreground; text-style: bold reverse; }
        & > .line-plot--axis { color: $foreground 55%; }
        & > .line-plot--axis-name { color: $foreground 40%; text-style: italic; }
        & > .line-plot--crosshair { color: $foreground 80%; }
        & > .line-plot--flag { color: $foreground 55%; }
        & > .line-plot--alert { color: $text-warning; text-style: bold; }
    }
    """
    )
    BINDINGS: ClassVar = [
        Binding("left", "crosshair(-1)", "Crosshair", show=False),
        Binding("right", "crosshair(1)", "Crosshair", show=False),
        Binding("shift+left,ctrl+left", "crosshair(-10)", "Crosshair by 10", show=False),
        Binding("shift+right,ctrl+right", "crosshair(10)", "Crosshair by 10", show=False),
        Binding("backspace", "hide_crosshair", "Hide crosshair", show=False),
    ]

    class CrosshairMoved(Message):
        """The crosshair went to ``x`` on the current axis (None: away), for plots that share it."""

        def __init__(self, plot: "LinePlot", x: float | None) -> None:
            super().__init__()
            self.plot = plot
            self.x = x

        @property
        def control(self) -> "LinePlot":
            return self.plot

    def __init__(
        self, model: PlotModel | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.model = model or PlotModel()

    def draw(self, width: int, height: int) -> Grid:
        grid = self.model.draw(width, height)
        if self.has_focus:
            grid.styles = [["active" if name == "title" else name for name in row] for row in grid.styles]
        return grid

    def action_crosshair(self, by: int) -> None:
        self._moved(self.model.step_crosshair(by, *self.size))

    def action_hide_crosshair(self) -> None:
        self.model.crosshair = None
        self._moved(None)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._moved(self.model.crosshair_at(event.x, *self.size))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button:
            self._moved(self.model.crosshair_at(event.x, *self.size))

    def _moved(self, x: float | None) -> None:
        self.redraw()
        self.post_message(self.CrosshairMoved(self, x))
