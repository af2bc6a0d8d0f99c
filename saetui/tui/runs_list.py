"""All runs with where they stand, live; the way into a run's monitor and verdict."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from saetui.quantities import duration, si
from saetui.runs.status import RunStatus
from saetui.runs.store import LIVE, Run
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.log_screen import LogScreen
from saetui.tui.marked_table import MarkedTable, mark_column
from saetui.tui.marks import Marks
from saetui.tui.poller import Poller
from saetui.tui.run_messages import (
    CurvesRequested,
    JudgeRequested,
    MonitorRequested,
    RunControlRequested,
)
from saetui.tui.run_text import STYLES, progress_bar, state_text
from saetui.tui.run_watch import RunWatch
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.confirm import Confirm
from saetui.tui.widgets.table import Column, Table

INTERVAL_S = 1.0


class RunsLooked(Message):
    def __init__(self, runs: list[RunStatus] | Exception) -> None:
        super().__init__()
        self.runs = runs

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsLooked)


def columns(symbols: Symbols, marks: Marks) -> list[Column[RunStatus]]:
    """What the list shows of a run; on a narrow screen the least needed columns go first."""

    def progress(run: RunStatus) -> str:
        if run.ahead is not None:
            return f"{run.ahead} ahead" if run.ahead else "next"
        if run.progress is None:
            return ""
        full, rest = progress_bar(run.progress, 5, symbols)
        return f"{full}{rest} {run.progress * 100:3.0f} %"

    def number(name: str) -> Column[RunStatus]:
        titles = {"loss": "loss", "fvu": "FVU", "l0": "L0", "tokens_per_s": "tok/s"}
        drops = {"loss": 3, "fvu": 6, "l0": 7, "tokens_per_s": 2}

        def text(run: RunStatus) -> str:
            value = getattr(run, name)
            return "" if value is None else si(value)

        return Column(
            titles[name], text, 6, sort=lambda run: getattr(run, name), right=True, drop=drops[name]
        )

    return [
        mark_column(marks, symbols, lambda r: r.id),
        Column("state", lambda r: state_text(r.state, symbols), 10, lambda r: r.state, style=_style),
        Column("run", lambda r: r.id, 18, lambda r: (r.created, r.id)),
        Column("progress", progress, 11, lambda r: r.progress),
        number("loss"),
        number("fvu"),
        number("l0"),
        number("tokens_per_s"),
        Column(
            "ETA",
            lambda r: duration(r.eta_s) if r.eta_s is not None else "",
            6,
            lambda r: r.eta_s,
            right=True,
        ),
        Column("verdict", lambda r: r.verdict or "", 8, lambda r: r.verdict),
        Column("kind", lambda r: r.kind, 5, lambda r: r.kind, drop=5),
        Column("model", lambda r: r.model, 9, lambda r: r.model, drop=8),
        Column("recipe", lambda r: r.message or r.note or r.summary, 12, grow=True, drop=4),
    ]


def _style(run: RunStatus) -> str:
    return STYLES.get(run.state, "idle")


class RunsScreen(Screen[None]):
    """The list of runs. Closing it, or saetui, leaves them alone."""

    BINDINGS: ClassVar = [*bindings("runs"), Binding("enter", "open", "Monitor")]
    CSS_PATH = "runs_list.tcss"

    def __init__(
        self,
        root: Path,
        symbols: Symbols = "braille",
        interval: float = INTERVAL_S,
        marks: Marks | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.marks = Marks() if marks is None else marks
        self.symbols: Symbols = symbols
        self._watch = RunWatch(root)
        self._poller = Poller(self._look, lambda runs: self.post_message(RunsLooked(runs)), interval)

    def _look(self) -> list[RunStatus] | None:
        """In the poller's thread: all runs, newest first; None where nothing has changed."""
        return [seen.status for seen in self._watch.runs] if self._watch.poll() else None

    def compose(self) -> ComposeResult:
        yield Static("reading …", id="runs-title", markup=False)
        yield MarkedTable[RunStatus](
            columns(self.symbols, self.marks),
            key=lambda run: run.id,
            empty="no runs yet: g grafts a feature, s splits it",
        )
        yield Static("", id="run-line", markup=False)
        yield KeyLine()

    def headless(self) -> list[str]:
        return ["saetui runs"]

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self._poller.start()

    def on_unmount(self) -> None:
        self._poller.close()

    def on_screen_suspend(self) -> None:
        self._poller.suspend()

    def on_screen_resume(self) -> None:
        self._poller.resume()
        self.query_one(MarkedTable).redraw_cells()  # another screen may have changed the marks

    def on_runs_looked(self, message: RunsLooked) -> None:
        runs = message.runs
        if isinstance(runs, Exception):
            raise runs
        live = sum(run.state == "running" for run in runs)
        queued = sum(run.state == "queued" for run in runs)
        counts = [f"{len(runs)} runs", f"{live} running"] + ([f"{queued} queued"] if queued else [])
        title = f"Runs   {', '.join(counts)}   {self.root}"
        with self.app.batch_update():
            shown = self.query_one("#runs-title", Static)
            if str(shown.content) != title:
                shown.update(title)
            self.query_one(Table).fill(runs)
            self._describe(self.query_one(Table).highlighted)

    def on_table_highlighted(self, message: Table.Highlighted) -> None:
        self._describe(message.row)

    def on_table_selected(self, message: Table.Selected) -> None:
        self.post_message(MonitorRequested(self._run(message.row)))

    def _describe(self, run: RunStatus | None) -> None:
        """The line under the list: what the columns had no room for."""
        line = ""
        if run:
            parts = [f"feature {run.target} of {run.model}", run.summary, run.note, run.message or ""]
            line = " · ".join(part for part in parts if part)
        shown = self.query_one("#run-line", Static)
        if str(shown.content) != line:
            shown.update(line)

    def _run(self, row: RunStatus) -> Run:
        return Run(self.root / row.id)

    @property
    def highlighted(self) -> Run | None:
        row = self.query_one(Table).highlighted
        return self._run(row) if row else None

    def _control(self, what: Literal["pause", "stop", "resume"]) -> None:
        if run := self.highlighted:
            self.post_message(RunControlRequested(run, what))

    def action_pause_listed(self) -> None:
        self._control("pause")

    def action_resume_listed(self) -> None:
        self._control("resume")

    def action_stop_listed(self) -> None:
        run, row = self.highlighted, self.query_one(Table).highlighted
        if run is None or row is None or row.state not in LIVE:
            # Nothing to confirm: the application says why not.
            self._control("stop")
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.post_message(RunControlRequested(run, "stop"))

        question = f"Stop {run.id}? It saves a checkpoint first, so that it can be resumed."
        self.app.push_screen(Confirm(question, "stop it"), answered)

    def action_judge_listed(self) -> None:
        if run := self.highlighted:
            self.post_message(JudgeRequested(run))

    def action_log_listed(self) -> None:
        if run := self.highlighted:
            self.app.push_screen(LogScreen(run.log_path))

    def action_mark_listed(self) -> None:
        table = self.query_one(MarkedTable)
        if row := table.highlighted:
            if not self.marks.toggle(row.id):
                self.notify(f"{self.marks.MOST} runs are marked: more cannot be told apart")
            table.redraw_cells()
            table.action_move(1)

    def action_curves_listed(self) -> None:
        """Of the marked runs; of the one under the cursor where none is."""
        if not self.marks.runs and (run := self.highlighted):
            self.marks.toggle(run.id)
        self.post_message(CurvesRequested())

    def action_leave_runs(self) -> None:
        self.dismiss()
