"""The run pane: the newest run, live, as small as it can be; the monitor shows all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from saetui.errors import UserError
from saetui.quantities import duration, short, si
from saetui.tui.panes.pane import Pane
from saetui.tui.poller import Poller
from saetui.tui.run_messages import MonitorRequested
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.polling import Looked
from saetui.tui.selection import Selected
from saetui.tui.session import Session
from saetui.tui.shell_words import command
from saetui.tui.widgets.quiet_focus import QuietFocus

if TYPE_CHECKING:
    from saetui.runs.status import RunStatus
    from saetui.runs.store import Run
    from saetui.tui.run_follower import RunFollower, Snapshot
    from saetui.tui.widgets.canvas import Symbols

PLOTS = {"loss": "loss", "fvu": "FVU"}
NONE = "no runs yet: s launches a wide split of the selected feature, g grafts it"


class RunPane(QuietFocus, Pane, can_focus=True):
    NUMBER = 5
    TITLE = "run"

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Monitor", show=False)]

    def __init__(self, session: Session, watch: RunWatch, symbols: Symbols = "braille") -> None:
        super().__init__(session)
        self._symbols: Symbols = symbols
        self._watch = watch
        self._wanted: Run | None = None
        self._follower: RunFollower | None = None
        self._poller: Poller | None = None

    def compose_content(self) -> ComposeResult:
        yield Static(NONE, classes="facts", markup=False)

    @property
    def main(self) -> Widget:
        return self

    def focus_moved(self) -> None:
        if self.has_focus:
            self.post_message(self.Activated(self))

    def follow(self, selected: Selected | None) -> None:
        """Runs go their own way, whatever feature is looked at."""

    def watch_run(self, run: Run) -> None:
        """Shows ``run`` from now on, rather than the newest."""
        self._wanted = run
        self.freshen()

    @property
    def run(self) -> Run | None:
        """The run shown: the one asked for, else the newest live one of this model and SAE, or the newest."""
        if self._wanted is not None:
            return self._wanted
        seen = self._watch.current(self.session.made)
        return seen.run if seen else None

    def freshen(self) -> None:
        """Has what the run's process wrote since the last look read: in a thread, as it may be much."""
        if not self.display or not self.is_mounted:
            return
        if self.run is None:
            self._show_none()
            return
        if self._poller is None:
            self._poller = Poller(self._look, lambda found: self.post_message(Looked(found)), None)
            self._poller.start()
        self._poller.look_now()

    def on_unmount(self) -> None:
        if self._poller is not None:
            self._poller.close()

    def _look(self) -> Snapshot | None:
        """In the poller's thread. UserError and OSError as ``RunFollower.poll``."""
        from saetui.tui.run_follower import RunFollower

        if self._wanted is not None and not self._wanted.folder.is_dir():
            self._wanted = None  # it has been deleted
        run = self.run
        if run is None:
            return None
        new = self._follower is None or self._follower.run != run
        if self._follower is None or new:
            self._follower = RunFollower(run)
        return self._follower.snapshot if self._follower.poll() or new else None

    def on_looked(self, message: Looked) -> None:
        found = message.found
        if isinstance(found, (UserError, OSError)):
            self.say(str(found), error=True)
        elif isinstance(found, Exception):
            raise found
        else:
            self._show(found)

    def _show_none(self) -> None:
        """There is none, or no more: the last one has been deleted."""
        self.say("")
        self.query_one(".facts", Static).update(NONE)
        for name in PLOTS:
            self.query(f"#{name}").set(display=False)

    def _show(self, snapshot: Snapshot) -> None:
        # The plots come with the first run to plot: they and their imports are nothing to wait for before.
        from saetui.tui.widgets.line_plot import LinePlot
        from saetui.tui.widgets.plot_model import PlotModel, Trace

        if not self.query(LinePlot):
            self.mount(
                *(LinePlot(PlotModel(title, symbols=self._symbols), id=name) for name, title in PLOTS.items())
            )
        self.say("")
        self.query_one(".facts", Static).update(facts(snapshot.status))
        total = snapshot.status.tokens_total
        for name in PLOTS:
            plot = self.query_one(f"#{name}", LinePlot)
            series = snapshot.series.get(name)
            plot.model.log = name == "loss"
            plot.model.traces = [Trace(PLOTS[name], series)] if series else []
            # The planned length as the domain: the axis does not move, and little is redrawn.
            plot.model.domains = ((0.0, float(total)) if total else None,)
            plot.display = bool(series) or snapshot.status.state in ("queued", "running")
            plot.redraw()

    def action_open(self) -> None:
        if run := self.run:
            self.post_message(MonitorRequested(run))

    def headless(self) -> list[str]:
        return [command("watch", self.run.id)] if self.run else []

    def as_text(self) -> str:
        return str(self.query_one(".facts", Static).render())


def facts(status: RunStatus) -> str:
    """What a glance at a run is for."""
    lines = [f"{status.id} · {status.state} · feature {status.target} · {status.summary}"]
    if status.ahead:
        lines.append(f"waits for {status.ahead} run{'s' if status.ahead > 1 else ''} before it")
    done = f"{100 * status.progress:.0f} % of " if status.progress is not None else ""
    total = (
        f"{short(status.tokens_total)} tokens" if status.tokens_total else f"{short(status.tokens)} tokens"
    )
    parts = [f"{done}{total}"]
    if status.tokens_per_s:
        parts.append(f"{si(status.tokens_per_s)}/s")
    if status.eta_s is not None:
        parts.append(f"ETA {duration(status.eta_s)}")
    if status.l0 is not None:
        parts.append(f"L0 {status.l0:.1f}")
    lines.append(" · ".join(parts))
    if status.message:
        lines.append(status.message)
    if status.verdict:
        lines.append(f"verdict: {status.verdict} children")
    elif status.state in ("queued", "running"):
        lines.append("enter opens the monitor; it goes on when you leave")
    else:
        judged = "v judges it · " if status.state == "finished" else ""
        lines.append(f"{judged}enter opens the monitor")
    return "\n".join(lines)
