"""The live monitor of one run. It only reads the run's files, so it can come and go while the run works."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import events
from textual.app import ComposeResult

from saetui.runs.store import LIVE, Run, State, list_runs
from saetui.tui.actions import bindings
from saetui.tui.event_lines import EventLines
from saetui.tui.key_line import KeyLine
from saetui.tui.marks import Marks
from saetui.tui.monitor_look import Looker, View
from saetui.tui.run_header import RunHeader
from saetui.tui.run_messages import JudgeRequested, RunControlRequested, ask_to_stop
from saetui.tui.run_plots import RunPlots
from saetui.tui.screens.log import LogScreen
from saetui.tui.screens.overlay import OverlayScreen
from saetui.tui.screens.polling import INTERVAL_S, PollingScreen
from saetui.tui.widgets.canvas import Symbols

ALLOWED: dict[str, tuple[State, ...]] = {
    "pause_run": LIVE,
    "stop_run": LIVE,
    "resume_run": ("paused", "stopped", "failed", "crashed"),
    "judge_run": ("finished",),
}
"""The states in which something can be done to a run."""


class MonitorScreen(PollingScreen[View]):
    """Curves of a run while it trains: losses, L0, FVU, dead features, and the target being replaced."""

    BINDINGS: ClassVar = bindings("monitor")
    CSS_PATH = "monitor.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (170, "-wide")]  # noqa: RUF012  (Screen declares it as an instance variable)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]  # noqa: RUF012  (Screen declares it as an instance variable)

    def __init__(
        self,
        run: Run,
        symbols: Symbols = "braille",
        interval: float = INTERVAL_S,
        marks: Marks | None = None,
    ) -> None:
        super().__init__(interval)
        self.symbols: Symbols = symbols
        self.run = run
        self.marks = Marks() if marks is None else marks
        self.view: View | None = None
        self._marked_here = False
        """Whether the run is marked only because others are laid over it."""
        self._pending: View | None = None
        self._frozen = False
        self._plots = RunPlots(symbols, self.marks)
        self._looker = Looker(run)

    def look(self) -> View | None:
        return self._looker.look()

    def compose(self) -> ComposeResult:
        yield RunHeader(self.symbols, id="run-header")
        yield self._plots
        yield EventLines(id="events")
        yield KeyLine()

    def headless(self) -> list[str]:
        return [f"saetui watch {self.run.id}", f"saetui export {self.run.id}"]

    # -- showing

    def show(self, found: View) -> None:
        if self._frozen:
            self._pending = found
        else:
            self._show(found)

    def on_resize(self, event: events.Resize) -> None:
        if self.view:
            self.call_after_refresh(self._show, self.view)

    def _show(self, view: View) -> None:
        before, self.view = self.state, view
        if self.state != before:
            self.refresh_bindings()
        header, snapshot = self.query_one(RunHeader), view.snapshot
        header.snapshot, header.gpu = snapshot, view.gpu
        header.note = "display paused: space goes on" if self._frozen else view.problem
        header.set_class(bool(snapshot and snapshot.status.message), "-message")
        with self.app.batch_update():
            header.redraw()
            if snapshot is None:
                return
            lines = self.query_one(EventLines)
            lines.events = snapshot.events
            lines.redraw()
            self._plots.show(view)

    # -- how it is shown

    def action_freeze(self) -> None:
        self._frozen = not self._frozen
        view = self.view if self._frozen else self._pending or self.view
        self._pending = None
        if view:
            self._show(view)

    def action_log_scale(self) -> None:
        self._plots.toggle_log()

    def action_smooth(self) -> None:
        self._plots.next_smoothing()

    def action_x_axis(self) -> None:
        self._plots.next_axis()

    def action_next_probe(self, by: int) -> None:
        self._plots.next_probe(by)

    def action_enlarge(self) -> None:
        if self.maximized:
            self.minimize()
        else:
            self.maximize(self._plots.in_hand)
        self.call_after_refresh(self._plots.show_again)

    def action_leave_monitor(self) -> None:
        """Escape undoes the nearest thing: the zoom, the crosshair, the monitor."""
        if self.maximized:
            self.action_enlarge()
        elif not self._plots.hide_crosshair():
            self.dismiss()

    def action_overlay(self) -> None:
        """Of the runs that are marked, here or in the list of runs: a run has one colour everywhere."""
        self.run_worker(self._overlay(), group="runs", exclusive=True)

    async def _overlay(self) -> None:
        runs = await asyncio.to_thread(list_runs, self.run.root)
        others = [run for run in runs if run.id != self.run.id]
        if not others:
            self.notify("There is no other run to lay over this one.")
            return
        unmarked = self._marked_here or self.marks.colour(self.run.id) is None
        marks = self.marks.copy()
        marks.ensure(self.run.id)

        def chosen(marks: Marks | None) -> None:
            if marks is None:
                return
            over = [run for run in others if marks.colour(run.id) is not None]
            self._marked_here = unmarked and bool(over)
            if unmarked and not over:
                marks.toggle(self.run.id)
            self.marks.become(marks)
            self._looker.lay_over(over)
            self._plots.show_again()
            self.look_now()

        self.app.push_screen(OverlayScreen(others, marks, self.symbols), chosen)

    def on_screen_resume(self) -> None:
        """Another screen may have changed the marks."""
        over = [run for run in self._looker.laid_over if self.marks.colour(run.id) is not None]
        self._looker.lay_over(over)
        if over:
            self.marks.ensure(self.run.id)
            self._plots.show_again()

    def action_other_run(self, by: int) -> None:
        """The run made before (-1) or after (+1) this one."""
        self.run_worker(self._other_run(by), group="runs")

    async def _other_run(self, by: int) -> None:
        runs = (await asyncio.to_thread(list_runs, self.run.root))[::-1]
        ids = [run.id for run in runs]
        at = ids.index(self.run.id) + by if self.run.id in ids else 0
        if not 0 <= at < len(runs):
            self.notify("This is the newest run." if by > 0 else "This is the oldest run.")
            return
        self.run = runs[at]
        self._plots.forget()
        self._looker.follow(self.run)
        self.look_now()

    # -- what is done to the run

    @property
    def state(self) -> State | None:
        """None: not read yet."""
        snapshot = self.view.snapshot if self.view else None
        return snapshot.status.state if snapshot else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A key for what the run's state does not allow is neither shown nor taken."""
        return self.state in ALLOWED.get(action, (self.state,))

    def action_pause_run(self) -> None:
        self.post_message(RunControlRequested(self.run, "pause"))

    def action_resume_run(self) -> None:
        self.post_message(RunControlRequested(self.run, "resume"))

    def action_stop_run(self) -> None:
        ask_to_stop(self, self.run)

    def action_judge_run(self) -> None:
        self.post_message(JudgeRequested(self.run))

    def action_run_log(self) -> None:
        self.app.push_screen(LogScreen(self.run.log_path))
