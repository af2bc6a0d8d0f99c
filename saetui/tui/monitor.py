"""The live monitor of one run. It only reads the run's files, so it can come and go while the run works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen

from saetui.errors import UserError
from saetui.quantities import si
from saetui.runs.store import LIVE, Run, list_runs
from saetui.tui.actions import bindings
from saetui.tui.event_lines import EventLines
from saetui.tui.gpu import Gpu, GpuReading, index_of
from saetui.tui.key_line import KeyLine
from saetui.tui.log_screen import LogScreen
from saetui.tui.monitor_plots import (
    AXES,
    PLOTS,
    PROBE_AXES,
    SMOOTHING,
    ProbeColours,
    domains,
    overlay_colours,
    probe_title,
    probe_traces,
    specs,
    traces,
)
from saetui.tui.overlay_screen import OverlayScreen
from saetui.tui.poller import Poller
from saetui.tui.run_follower import RunFollower, Snapshot
from saetui.tui.run_header import RunHeader
from saetui.tui.run_messages import JudgeRequested, RunControlRequested
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.confirm import Confirm
from saetui.tui.widgets.line_plot import LinePlot
from saetui.tui.widgets.plot_model import PlotModel

INTERVAL_S = 1.0
PROBE_WIDTH = 34
"""Cells that a replacing plot needs to be read; as many are shown as have them, …"""
PROBE_PLOTS = 4
"""… and not more than these."""


@dataclass(frozen=True)
class View:
    """What one look at the files gave."""

    snapshot: Snapshot | None
    overlays: tuple[Snapshot, ...]
    gpu: GpuReading | None
    problem: str = ""


class Looked(Message):
    """From the polling thread: there is something new to show."""

    def __init__(self, view: View | Exception) -> None:
        super().__init__()
        self.view = view

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Looked)


class _Looker:
    """What the polling thread does: it reads; the screen replaces ``follower`` and ``overlays``."""

    def __init__(self, run: Run) -> None:
        self.overlays: tuple[RunFollower, ...] = ()
        self._last: View | None = None
        self.follow(run)

    def follow(self, run: Run) -> None:
        self.follower = RunFollower(run)
        self._gpu: Gpu | None = None
        self._gpu_known = False

    def look(self) -> View | None:
        """A new view, or None where nothing has changed."""
        follower, overlays = self.follower, self.overlays
        problem, new = "", False
        try:
            for each in (follower, *overlays):
                new |= each.poll()
        except (UserError, OSError) as error:
            problem = str(error)
        snapshot = follower.snapshot
        view = View(
            snapshot,
            tuple(each.snapshot for each in overlays if each.snapshot),
            self._read_gpu(snapshot),
            problem,
        )
        if not new and view == self._last:
            return None
        self._last = view
        return view

    def _read_gpu(self, snapshot: Snapshot | None) -> GpuReading | None:
        if snapshot is None or snapshot.status.state != "running":
            return None
        if not self._gpu_known:
            self._gpu_known = True
            index = index_of(str(snapshot.run.manifest.setup.get("device", "auto")))
            self._gpu = None if index is None else Gpu(index)
        return self._gpu.read() if self._gpu else None


class MonitorScreen(Screen[None]):
    """Curves of a run while it trains: losses, L0, FVU, dead features, and the target being replaced."""

    BINDINGS: ClassVar = bindings("monitor")
    CSS_PATH = "monitor.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (170, "-wide")]  # noqa: RUF012  (Screen declares it as an instance variable)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]  # noqa: RUF012  (Screen declares it as an instance variable)

    def __init__(self, run: Run, symbols: Symbols = "braille", interval: float = INTERVAL_S) -> None:
        super().__init__()
        self.symbols: Symbols = symbols
        self.run = run
        self.view: View | None = None
        self._pending: View | None = None
        self._frozen = False
        self._first_probe = 0
        self._probe_colours: dict[tuple[str, str], ProbeColours] = {}
        self._smoothing = SMOOTHING.index(0.9)
        self._axis = 0
        self._logs = {"loss": False}
        self._looker = _Looker(run)
        self._poller = Poller(self._looker.look, lambda view: self.post_message(Looked(view)), interval)

    def compose(self) -> ComposeResult:
        yield RunHeader(self.symbols, id="run-header")
        with Horizontal(id="plots"):
            with Vertical(id="left"):
                yield self._plot("loss")
                with Horizontal(id="probes"):
                    for i in range(PROBE_PLOTS):
                        model = PlotModel("replacing", axes=PROBE_AXES, zero=True, symbols=self.symbols)
                        model.format = lambda value: si(value) if value is None else f"{value:.2f}"
                        yield LinePlot(model, id=f"probe-{i}", classes="probe")
            with Container(id="right"):
                for spec in PLOTS[1:]:
                    yield self._plot(spec.id)
        yield EventLines(id="events")
        yield KeyLine()

    def _plot(self, name: str) -> LinePlot:
        spec = next(spec for spec in PLOTS if spec.id == name)
        model = PlotModel(spec.title, axes=AXES, zero=spec.zero, symbols=self.symbols)
        model.tell_smoothing = name == "loss"
        return LinePlot(model, id=f"plot-{name}")

    # -- coming and going ----------------------------------------------------------------------

    def on_mount(self) -> None:
        # Nothing but the header before the first look at the files: how the rest is laid out depends on
        # what is in them, and a first frame that is thrown away is 20 KB over SSH.
        self.query_one("#plots").visible = False
        self.query_one("#probes").display = False
        self._poller.start()

    def on_unmount(self) -> None:
        self._poller.close()

    def on_screen_suspend(self) -> None:
        self._poller.suspend()

    def on_screen_resume(self) -> None:
        self._poller.resume()

    def on_looked(self, message: Looked) -> None:
        if isinstance(message.view, Exception):
            raise message.view
        if self._frozen:
            self._pending = message.view
        else:
            self._show(message.view)

    def on_resize(self, event: events.Resize) -> None:
        if self.view:
            self.call_after_refresh(self._show, self.view)

    # -- showing -------------------------------------------------------------------------------

    def _show(self, view: View, everything: bool = False) -> None:
        """Brings the plots up to date; those whose data are the same as before are left alone."""
        self.view = view
        header = self.query_one(RunHeader)
        header.snapshot, header.gpu = view.snapshot, view.gpu
        header.note = "display paused: space goes on" if self._frozen else view.problem
        message = bool(view.snapshot and view.snapshot.status.message)
        header.set_class(message, "-message")
        with self.app.batch_update():
            header.redraw()
            if view.snapshot is None:
                return
            if self._arrange(view.snapshot):
                self.call_after_refresh(self._show, view, True)
                return
            lines = self.query_one(EventLines)
            lines.events = view.snapshot.events
            lines.redraw()
            overlays = list(view.overlays)
            colours = overlay_colours(view.snapshot.run.id, [o.run.id for o in overlays])
            plan = domains(view.snapshot)
            for spec in specs(view.snapshot.run.manifest.kind):
                plot = self.query_one(f"#plot-{spec.id}", LinePlot)
                plot.model.title = spec.title
                plot.model.traces, old = traces(spec, view.snapshot, overlays, colours), plot.model.traces
                plot.model.empty = "no data yet" if view.snapshot.status.state in LIVE else "no data"
                if everything or _differ(old, plot.model.traces) or plot.model.domains != plan:
                    plot.model.domains = plan
                    plot.model.axis = self._axis
                    plot.model.decay = SMOOTHING[self._smoothing]
                    plot.model.log = self._logs.get(spec.id, False)
                    plot.redraw()
            self._show_probes(view.snapshot, plan, everything)

    def _fitting(self, snapshot: Snapshot) -> int:
        """How many replacing plots there is room for."""
        return max(
            1, min(PROBE_PLOTS, self.query_one("#left").size.width // PROBE_WIDTH, len(snapshot.probes))
        )

    def _arrange(self, snapshot: Snapshot) -> bool:
        """Shows as many plots as there are data and room for; True where the layout changes by that."""
        plots, probes = self.query_one("#plots"), self.query_one("#probes")
        each = [self.query_one(f"#probe-{i}", LinePlot) for i in range(PROBE_PLOTS)]
        others = {spec: self.query_one(f"#plot-{spec.id}") for spec in PLOTS[1:]}

        def layout() -> list[bool]:
            absent = [plot.has_class("-absent") for plot in others.values()]
            return [plots.visible, probes.display, *(plot.display for plot in each), *absent]

        before = layout()
        plots.visible = True
        probes.display = bool(snapshot.probes)
        for i, plot in enumerate(each):
            plot.display = i < self._fitting(snapshot)
        for spec, plot in others.items():
            # What this kind of run does not report has no place on the screen.
            reported = any(name in snapshot.series for _, name in spec.metrics)
            plot.set_class(not reported and "loss" in snapshot.series, "-absent")
        return before != layout()

    def _show_probes(
        self, snapshot: Snapshot, plan: tuple[tuple[float, float] | None, ...], everything: bool
    ) -> None:
        probes = snapshot.probes
        if not probes:
            return
        fitting = self._fitting(snapshot)
        width = self.query_one("#probes").size.width
        self._first_probe %= len(probes)
        target = snapshot.status.target
        init = str(snapshot.run.manifest.recipe.get("init", ""))
        for i in range(PROBE_PLOTS):
            plot = self.query_one(f"#probe-{i}", LinePlot)
            if i >= fitting:
                continue
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

    def _refresh_all(self) -> None:
        if self.view:
            self._show(self.view, everything=True)

    def on_line_plot_crosshair_moved(self, message: LinePlot.CrosshairMoved) -> None:
        """One crosshair for all plots: they share their x."""
        for plot in self.query(LinePlot):
            if plot is not message.plot:
                plot.model.crosshair = message.x
                plot.redraw()

    # -- actions -------------------------------------------------------------------------------

    def action_freeze(self) -> None:
        self._frozen = not self._frozen
        view = self.view if self._frozen else self._pending or self.view
        self._pending = None
        if view:
            self._show(view)

    def action_log_scale(self) -> None:
        """Of the plot with the focus; of the loss where none has it."""
        focused = self.focused
        name = "loss"
        if isinstance(focused, LinePlot) and focused.id:
            name = "probes" if focused.has_class("probe") else focused.id.removeprefix("plot-")
        self._logs[name] = not self._logs.get(name, False)
        self._refresh_all()

    def action_smooth(self) -> None:
        self._smoothing = (self._smoothing + 1) % len(SMOOTHING)
        self._refresh_all()

    def action_x_axis(self) -> None:
        self._axis = (self._axis + 1) % len(AXES)
        for plot in self.query(LinePlot):
            plot.model.crosshair = None
        self._refresh_all()

    def action_next_probe(self, by: int) -> None:
        self._first_probe += by
        self._refresh_all()

    def action_enlarge(self) -> None:
        if self.maximized:
            self.minimize()
        elif isinstance(self.focused, LinePlot):
            self.maximize(self.focused)
        else:
            self.maximize(self.query_one("#plot-loss", LinePlot))
        self.call_after_refresh(self._refresh_all)

    def action_leave_monitor(self) -> None:
        if self.maximized:
            self.action_enlarge()
        elif any(plot.model.crosshair is not None for plot in self.query(LinePlot)):
            for plot in self.query(LinePlot):
                plot.model.crosshair = None
                plot.redraw()
        else:
            self.dismiss()

    def action_pause_run(self) -> None:
        self.post_message(RunControlRequested(self.run, "pause"))

    def action_resume_run(self) -> None:
        self.post_message(RunControlRequested(self.run, "resume"))

    def action_stop_run(self) -> None:
        snapshot = self.view.snapshot if self.view else None
        if snapshot and snapshot.status.state not in LIVE:  # nothing to confirm: the application says why not
            self.post_message(RunControlRequested(self.run, "stop"))
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.post_message(RunControlRequested(self.run, "stop"))

        question = f"Stop {self.run.id}? It saves a checkpoint first, so that it can be resumed."
        self.app.push_screen(Confirm(question, "stop it"), answered)

    def action_judge_run(self) -> None:
        self.post_message(JudgeRequested(self.run))

    def action_run_log(self) -> None:
        self.app.push_screen(LogScreen(self.run.log_path))

    def action_overlay(self) -> None:
        def chosen(runs: list[Run] | None) -> None:
            if runs is None:
                return
            kept = {each.run.id: each for each in self._looker.overlays}
            self._looker.overlays = tuple(kept.get(run.id) or RunFollower(run) for run in runs)
            self._poller.look_now()

        others = [run for run in list_runs(self.run.root) if run.id != self.run.id]
        if not others:
            self.notify("There is no other run to lay over this one.")
            return
        shown = {each.run.id for each in self._looker.overlays}
        self.app.push_screen(OverlayScreen(others, shown), chosen)

    def action_other_run(self, by: int) -> None:
        """The run made before (-1) or after (+1) this one."""
        runs = list_runs(self.run.root)[::-1]
        ids = [run.id for run in runs]
        at = ids.index(self.run.id) + by if self.run.id in ids else 0
        if not 0 <= at < len(runs):
            self.notify("This is the newest run." if by > 0 else "This is the oldest run.")
            return
        self.run = runs[at]
        self._first_probe = 0
        self._probe_colours.clear()
        for plot in self.query(LinePlot):
            plot.model.crosshair = None
        self._looker.overlays = ()
        self._looker.follow(self.run)
        self._poller.look_now()


def _differ(old: list, new: list) -> bool:
    """Whether two lists of traces show different things; unchanged series are the same objects."""
    return [(id(t.series), t.label, t.colour) for t in old] != [
        (id(t.series), t.label, t.colour) for t in new
    ]
