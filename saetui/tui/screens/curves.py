"""The curves of the marked runs, laid over one another: one plot, one thing at a time that they report."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from saetui.errors import UserError
from saetui.runs.store import Run, list_runs
from saetui.tui.actions import bindings
from saetui.tui.curves import Curve, curves, plan, traces
from saetui.tui.key_line import KeyLine
from saetui.tui.marked_table import MarkedTable, mark_column
from saetui.tui.marks import Marks
from saetui.tui.monitor_plots import AXES, SMOOTHING
from saetui.tui.run_follower import RunFollower, Snapshot
from saetui.tui.run_messages import MonitorRequested
from saetui.tui.run_text import STYLES, state_text
from saetui.tui.screens.overlay import OverlayScreen
from saetui.tui.screens.polling import INTERVAL_S, PollingScreen
from saetui.tui.shell_words import command
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.line_plot import LinePlot
from saetui.tui.widgets.plot_model import PlotModel
from saetui.tui.widgets.table import Column, Table


@dataclass(frozen=True)
class View:
    """What one look at the files gave; ``problem``: a run that cannot be read."""

    snapshots: tuple[Snapshot, ...]
    problem: str = ""


class CurvesScreen(PollingScreen[View]):
    """Opens on the runs in ``marks``, and marks others with ``o``: all lists of runs share the marks."""

    BINDINGS = bindings("curves")
    CSS_PATH = "curves.tcss"

    def __init__(
        self, root: Path, marks: Marks, symbols: Symbols = "braille", interval: float = INTERVAL_S
    ) -> None:
        super().__init__(interval)
        self.root, self.marks = root, marks
        self.symbols: Symbols = symbols
        self.view = View(())
        self._followers: dict[str, RunFollower] = {}
        self._last: View | None = None
        self._shown_name = ""
        """Of the curve shown: it stays when another run brings others before it."""
        self._curves: list[Curve] = []
        self._axis = 0
        self._smoothing = SMOOTHING.index(0.02)
        self._log = False

    def look(self) -> View | None:
        """The runs that are marked at the time."""
        marked = self.marks.runs
        self._followers = {id: self._followers.get(id) or RunFollower(Run(self.root / id)) for id in marked}
        problem, new = "", False
        for follower in self._followers.values():
            try:
                new |= follower.poll()
            except (UserError, OSError) as error:
                problem = str(error)
        view = View(tuple(f.snapshot for f in self._followers.values() if f.snapshot), problem)
        if not new and view == self._last:
            return None
        self._last = view
        return view

    def compose(self) -> ComposeResult:
        yield Static("", id="curve-names")
        yield LinePlot(PlotModel(axes=AXES, symbols=self.symbols, empty="reading …"))
        yield MarkedTable[Snapshot](
            [
                mark_column(self.marks, self.symbols, lambda s: s.run.id),
                Column("run", lambda s: s.run.id, 18),
                Column("state", lambda s: state_text(s.status.state, self.symbols), 10,
                       style=lambda s: STYLES.get(s.status.state, "")),
                Column("verdict", lambda s: s.status.verdict or "", 8, drop=1),
                Column("recipe", lambda s: s.status.note or s.status.summary, 12, grow=True),
            ],
            key=lambda s: s.run.id,
            empty="no run is marked: o chooses some",
        )  # fmt: skip
        yield KeyLine()

    def headless(self) -> list[str]:
        return [command("export", run, "--format", "csv") for run in self.marks.runs]

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def show(self, found: View) -> None:
        self.view = found
        self.draw()

    def problem(self, found: View) -> str:
        return found.problem

    # -- showing

    @property
    def _shown(self) -> Curve | None:
        return next((c for c in self._curves if c.name == self._shown_name), None) or next(
            iter(self._curves), None
        )

    def draw(self) -> None:
        snapshots = self.view.snapshots
        self._curves = curves(snapshots)
        plot, curve = self.query_one(LinePlot), self._shown
        model = plot.model
        model.empty = "no data yet" if snapshots else "no run is marked"
        model.traces = traces(curve, snapshots, self.marks) if curve else []
        model.domains = plan(snapshots)
        model.axis, model.log, model.smoothing = self._axis, self._log, SMOOTHING[self._smoothing]
        if curve:
            model.title, model.axes, model.zero = curve.name, curve.axes, curve.zero
            model.tell_smoothing = curve.smooth
        table = self.query_one(Table)
        with self.app.batch_update():
            table.styles.height = max(1, len(snapshots)) + 1
            table.fill(snapshots)
            self.query_one("#curve-names", Static).update(self._names(curve))
            plot.redraw()

    def _names(self, shown: Curve | None) -> Text:
        names = Text(no_wrap=True, overflow="ellipsis")
        at = self._curves.index(shown) if shown else 0
        # What is shown is always on the line, whatever its length: those before it go first.
        room = max(self.size.width - 2, 1)
        first = 0
        while sum(len(c.name) + 3 for c in self._curves[first : at + 1]) > room and first < at:
            first += 1
        for k, curve in list(enumerate(self._curves))[first:]:
            style = Style(reverse=curve is shown, meta={"@click": f"screen.curve({k})"})
            names.append(f" {curve.name} ", style)
            names.append(" ")
        return names

    # -- actions

    def action_curve(self, at: int) -> None:
        self._shown_name = self._curves[at].name
        self._move_away()
        self.draw()

    def action_next_curve(self, by: int) -> None:
        if curve := self._shown:
            self.action_curve((self._curves.index(curve) + by) % len(self._curves))

    def _move_away(self) -> None:
        """The crosshair is at an x of the axis that was."""
        self.query_one(LinePlot).model.crosshair = None

    def action_curve_axis(self) -> None:
        self._axis = (self._axis + 1) % len(AXES)
        self._move_away()
        self.draw()

    def action_curve_log(self) -> None:
        self._log = not self._log
        self.draw()

    def action_curve_smooth(self) -> None:
        self._smoothing = (self._smoothing + 1) % len(SMOOTHING)
        self.draw()

    def action_curve_crosshair(self, by: int) -> None:
        self.query_one(LinePlot).action_crosshair(by)

    def action_unmark(self) -> None:
        if snapshot := self.query_one(Table).highlighted:
            self.marks.toggle(snapshot.run.id)
            self.look_now()

    def action_choose_runs(self) -> None:
        self.run_worker(self._choose_runs(), group="runs", exclusive=True)

    async def _choose_runs(self) -> None:
        runs = await asyncio.to_thread(list_runs, self.root)
        if not runs:
            self.notify("there are no runs yet")
            return
        self.app.push_screen(OverlayScreen(runs, self.marks, self.symbols), self._chosen)

    def _chosen(self, marks: Marks | None) -> None:
        if marks is not None:
            self.marks.become(marks)
            self.look_now()

    def on_table_selected(self, message: Table.Selected) -> None:
        self.post_message(MonitorRequested(message.row.run))

    def action_leave_curves(self) -> None:
        plot = self.query_one(LinePlot)
        if plot.model.crosshair is not None:
            plot.action_hide_crosshair()
        else:
            self.dismiss()
