"""The live monitor of one run. It only reads the run's files, so it can come and go while the run works."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen

from saetui.runs.store import LIVE, Run, State, list_runs
from saetui.tui.actions import bindings
from saetui.tui.event_lines import EventLines
from saetui.tui.key_line import KeyLine
from saetui.tui.log_screen import LogScreen
from saetui.tui.monitor_look import Looker, View
from saetui.tui.overlay_screen import OverlayScreen
from saetui.tui.poller import Poller
from saetui.tui.run_header import RunHeader
from saetui.tui.run_messages import JudgeRequested, RunControlRequested
from saetui.tui.run_plots import RunPlots
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.confirm import Confirm

INTERVAL_S = 1.0
ALLOWED: dict[str, tuple[State, ...]] = {
    "pause_run": LIVE,
    "stop_run": LIVE,
    "resume_run": ("paused", "stopped", "failed", "crashed"),
    "judge_run": ("finished",),
}
"""The states in which something can be done to a run."""


class Looked(Message):
    """From the polling thread: there is something new to show."""

    def __init__(self, view: View | Exception) -> None:
        super().__init__()
        self.view = view

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Looked)


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
        self._plots = RunPlots(symbols)
        self._looker = Looker(run)
        self._poller = Poller(self._looker.look, lambda view: self.post_message(Looked(view)), interval)

    def compose(self) -> ComposeResult:
        yield RunHeader(self.symbols, id="run-header")
        yield self._plots
        yield EventLines(id="events")
        yield KeyLine()

    # -- coming and going

    def headless(self) -> list[str]:
        return [f"saetui watch {self.run.id}", f"saetui export {self.run.id}"]

    def on_mount(self) -> None:
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
        def chosen(runs: list[Run] | None) -> None:
            if runs is not None:
                self._looker.lay_over(runs)
                self._poller.look_now()

        others = [run for run in list_runs(self.run.root) if run.id != self.run.id]
        if not others:
            self.notify("There is no other run to lay over this one.")
            return
        shown = {run.id for run in self._looker.laid_over}
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
        self._plots.forget()
        self._looker.follow(self.run)
        self._poller.look_now()

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
        def answered(yes: bool | None) -> None:
            if yes:
                self.post_message(RunControlRequested(self.run, "stop"))

        question = f"Stop {self.run.id}? It saves a checkpoint first, so that it can be resumed."
        self.app.push_screen(Confirm(question, "stop it"), answered)

    def action_judge_run(self) -> None:
        self.post_message(JudgeRequested(self.run))

    def action_run_log(self) -> None:
        self.app.push_screen(LogScreen(self.run.log_path))
