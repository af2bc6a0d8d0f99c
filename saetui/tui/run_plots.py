"""The plots of the monitor: which are shown where there is room, and their axis, scale and smoothing."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical

from saetui.quantities import si
from saetui.runs.store import LIVE
from saetui.tui.marks import Marks
from saetui.tui.monitor_look import View
from saetui.tui.monitor_plots import (
    AXES,
    PLOTS,
    PROBE_AXES,
    SMOOTHING,
    ProbeColours,
    compared,
    domains,
    probe_title,
    probe_traces,
    specs,
    traces,
)
from saetui.tui.run_follower import Snapshot
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.line_plot import LinePlot
from saetui.tui.widgets.plot_model import PlotModel, Trace

PROBE_WIDTH = 34
"""Cells that a replacing plot needs to be read; as many are shown as have them, …"""
PROBE_PLOTS = 4
"""… and not more than these."""

Domains = tuple[tuple[float, float] | None, ...]


class RunPlots(Horizontal):
    """Shows views; a change of axis, scale or smoothing shows the last one anew."""

    def __init__(self, symbols: Symbols, marks: Marks) -> None:
        """``marks``: which runs are laid over one another, and in which colours."""
        super().__init__(id="plots")
        self._marks = marks
        self._symbols: Symbols = symbols
        self._view: View | None = None
        self._first_probe = 0
        self._probe_colours: dict[tuple[str, str], ProbeColours] = {}
        self._smoothing = SMOOTHING.index(0.02)
        self._axis = 0
        self._logs = {"loss": False}

    def compose(self) -> ComposeResult:
        with Vertical(id="left"):
            yield self._plot("loss")
            with Horizontal(id="probes"):
                for i in range(PROBE_PLOTS):
                    model = PlotModel("replacing", axes=PROBE_AXES, zero=True, symbols=self._symbols)
                    model.format = lambda value: si(value) if value is None else f"{value:.2f}"
                    yield LinePlot(model, id=f"probe-{i}", classes="probe")
        with Container(id="right"):
            for spec in PLOTS[1:]:
                yield self._plot(spec.id)

    def _plot(self, name: str) -> LinePlot:
        spec = next(spec for spec in PLOTS if spec.id == name)
        model = PlotModel(spec.title, axes=AXES, zero=spec.zero, symbols=self._symbols)
        model.tell_smoothing = name == "loss"
        return LinePlot(model, id=f"plot-{name}")

    def on_mount(self) -> None:
        # How the plots are laid out depends on what the files hold, and a frame that is thrown away is
        # 20 KB over SSH: nothing before the first look.
        self.visible = False
        self.query_one("#probes").display = False

    # -- showing

    def show(self, view: View, everything: bool = False) -> None:
        """Brings the plots up to date; those whose data are the same as before are left alone."""
        self._view = view
        if view.snapshot is None:
            return
        if self._arrange(view.snapshot):
            self.call_after_refresh(self.show, view, True)
            return
        plan = domains(view.snapshot)
        together = (view.snapshot, *view.overlays)
        for spec in specs(view.snapshot.run.manifest.kind):
            plot = self.query_one(f"#plot-{spec.id}", LinePlot)
            plot.model.title = spec.title
            old, plot.model.traces = (
                plot.model.traces,
                (
                    compared(spec.metrics[0][1], together, self._marks)
                    if view.overlays
                    else traces(spec, view.snapshot)
                ),
            )
            plot.model.empty = "no data yet" if view.snapshot.status.state in LIVE else "no data"
            if everything or _differ(old, plot.model.traces) or plot.model.domains != plan:
                plot.model.domains = plan
                plot.model.axis = self._axis
                plot.model.smoothing = SMOOTHING[self._smoothing]
                plot.model.log = self._logs.get(spec.id, False)
                plot.redraw()
        self._show_probes(view.snapshot, plan, everything)

    def show_again(self) -> None:
        if self._view:
            self.show(self._view, everything=True)

    def forget(self) -> None:
        """What follows is another run's."""
        self._first_probe = 0
        self._probe_colours.clear()
        for plot in self.query(LinePlot):
            plot.model.crosshair = None

    def _fitting(self, snapshot: Snapshot) -> int:
        """How many replacing plots there is room for."""
        return max(
            1, min(PROBE_PLOTS, self.query_one("#left").size.width // PROBE_WIDTH, len(snapshot.probes))
        )

    def _arrange(self, snapshot: Snapshot) -> bool:
        """Shows as many plots as there are data and room for; True where the layout changes by that."""
        probes = self.query_one("#probes")
        each = [self.query_one(f"#probe-{i}", LinePlot) for i in range(PROBE_PLOTS)]
        others = {spec: self.query_one(f"#plot-{spec.id}") for spec in PLOTS[1:]}

        def layout() -> list[bool]:
            absent = [plot.has_class("-absent") for plot in others.values()]
            return [self.visible, probes.display, *(plot.display for plot in each), *absent]

        before = layout()
        self.visible = True
        probes.display = bool(snapshot.probes)
        for i, plot in enumerate(each):
            plot.display = i < self._fitting(snapshot)
        for spec, plot in others.items():
            # What this kind of run does not report has no place on the screen.
            reported = any(name in snapshot.series for _, name in spec.metrics)
            plot.set_class(not reported and "loss" in snapshot.series, "-absent")
        return before != layout()

    def _show_probes(self, snapshot: Snapshot, plan: Domains, everything: bool) -> None:
        probes = snapshot.probes
        if not probes:
            return
        fitting = self._fitting(snapshot)
        width = self.query_one("#probes").size.width
        self._first_probe %= len(probes)
        target = snapshot.status.target
        init = str(snapshot.run.manifest.recipe.get("init", ""))
        for i in range(fitting):
            plot = self.query_one(f"#probe-{i}", LinePlot)
            index = (self._first_probe + i) % len(probes)
            probe = probes[index]
            colours = self._probe_colours.setdefault((probe.prompt, probe.token), ProbeColours())
            of = f" {index + 1}/{len(probes)}" if fitting < len(probes) else ""
            title = probe_title(probe, max(8, width // fitting // 3)) + of
            old, plot.model.traces = plot.model.traces, probe_traces(probe, colours, target, init)
            changed = _differ(old, plot.model.traces) or title != plot.model.title
            if everything or changed or plot.model.domains != plan:
                plot.model.title, plot.model.domains, plot.model.axis = title, plan, self._axis
                plot.model.log = self._logs.get("probes", False)
                plot.redraw()

    # -- how they are shown

    @property
    def in_hand(self) -> LinePlot:
        """The plot with the focus; the loss where none has it."""
        focused = self.screen.focused
        return focused if isinstance(focused, LinePlot) else self.query_one("#plot-loss", LinePlot)

    def toggle_log(self) -> None:
        """Of the plot in hand; the replacing plots have one scale."""
        plot = self.in_hand
        name = "probes" if plot.has_class("probe") else str(plot.id).removeprefix("plot-")
        self._logs[name] = not self._logs.get(name, False)
        self.show_again()

    def next_smoothing(self) -> None:
        self._smoothing = (self._smoothing + 1) % len(SMOOTHING)
        self.show_again()

    def next_axis(self) -> None:
        self._axis = (self._axis + 1) % len(AXES)
        for plot in self.query(LinePlot):
            plot.model.crosshair = None
        self.show_again()

    def next_probe(self, by: int) -> None:
        self._first_probe += by
        self.show_again()

    def hide_crosshair(self) -> bool:
        """Whether there was one."""
        marked = [plot for plot in self.query(LinePlot) if plot.model.crosshair is not None]
        for plot in marked:
            plot.model.crosshair = None
            plot.redraw()
        return bool(marked)

    def on_line_plot_crosshair_moved(self, message: LinePlot.CrosshairMoved) -> None:
        """One crosshair for all plots: they share their x."""
        for plot in self.query(LinePlot):
            if plot is not message.plot:
                plot.model.crosshair = message.x
                plot.redraw()


def _differ(old: list[Trace], new: list[Trace]) -> bool:
    """Whether two lists of traces show different things; unchanged series are the same objects."""
    return [(id(t.series), t.label, t.colour) for t in old] != [
        (id(t.series), t.label, t.colour) for t in new
    ]
