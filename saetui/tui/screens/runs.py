"""All runs with where they stand, live; the way into a run's monitor and verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from saetui.deleting import losses, total
from saetui.errors import UserError
from saetui.quantities import duration, short, si
from saetui.runs.status import RunStatus
from saetui.runs.store import LIVE, Run, remove_run
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.marked_table import MarkedTable, mark_column
from saetui.tui.marks import Marks
from saetui.tui.run_messages import (
    CurvesRequested,
    JudgeRequested,
    MonitorRequested,
    RunControlRequested,
    ask_to_stop,
)
from saetui.tui.run_text import STYLES, state_text
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.log import LogScreen
from saetui.tui.screens.polling import INTERVAL_S, PollingScreen
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.confirm import Confirm
from saetui.tui.widgets.table import Column, Table


def columns(symbols: Symbols, marks: Marks) -> list[Column[RunStatus]]:
    """What runs are compared by, what matters most first; on a narrow screen the rest goes, the last first.
    Losses compare only between runs of one loss function and L1 coefficient: the FVU goes before them."""

    def number(title: str, value: Callable[[RunStatus], float | None], drop: int = 0) -> Column[RunStatus]:
        def text(run: RunStatus) -> str:
            return "" if (known := value(run)) is None else si(known)

        return Column(title, text, 6, sort=value, right=True, drop=drop)

    return [
        mark_column(marks, symbols, lambda r: r.id),
        Column("state", lambda r: state_text(r.state, symbols), 10, lambda r: r.state, style=_style),
        Column("run", lambda r: r.id, 19, lambda r: (r.created, r.id)),
        Column("kind", lambda r: r.kind, 5, lambda r: r.kind),
        Column("model", lambda r: r.model, 7, lambda r: r.model, drop=1, wish=9),
        Column("verdict", lambda r: r.verdict or "", 8, lambda r: r.verdict),
        number("FVU", lambda r: r.fvu),
        number("L0", lambda r: r.l0, drop=2),
        Column(
            "tokens", lambda r: short(r.tokens) if r.tokens else "", 6, lambda r: r.tokens, right=True, drop=4
        ),
        Column("done", _done, 4, lambda r: r.progress, right=True, drop=5),
        Column("ETA", _eta, 7, lambda r: r.eta_s, right=True),
        number("loss", lambda r: r.loss, drop=6),
        number("tok/s", lambda r: r.tokens_per_s, drop=7),
        Column("recipe", lambda r: r.message or r.note or r.summary, 19, grow=True, drop=3, wish=39),
    ]


def _done(run: RunStatus) -> str:
    """The share of the tokens that it was trained on; of one that was trained on all, nothing."""
    done = run.progress
    return f"{100 * done:.0f} %" if done is not None and 0 < done < 1 else ""


def _eta(run: RunStatus) -> str:
    if run.ahead is not None:
        return f"{run.ahead} ahead" if run.ahead else "next"
    return "" if run.eta_s is None else duration(run.eta_s)


def _style(run: RunStatus) -> str:
    return STYLES.get(run.state, "idle")


class RunsScreen(PollingScreen[list[RunStatus]]):
    """The list of runs. Closing it, or saetui, leaves them alone."""

    BINDINGS: ClassVar = [*bindings("runs"), Binding("enter", "open", "Monitor")]
    CSS_PATH = "runs.tcss"

    def __init__(
        self,
        watch: RunWatch,
        symbols: Symbols = "braille",
        interval: float = INTERVAL_S,
        marks: Marks | None = None,
    ) -> None:
        super().__init__(interval)
        self.root = watch.root
        self.marks = Marks() if marks is None else marks
        self.symbols: Symbols = symbols
        self._watch = watch
        self._changes = 0

    def look(self) -> list[RunStatus] | None:
        """All runs, newest first."""
        changes, self._changes = self._changes, self._watch.poll()
        return None if changes == self._changes else [seen.status for seen in self._watch.runs]

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

    def on_screen_resume(self) -> None:
        self.query_one(MarkedTable).redraw_cells()  # another screen may have changed the marks

    def show(self, found: list[RunStatus]) -> None:
        live = sum(run.state == "running" for run in found)
        queued = sum(run.state == "queued" for run in found)
        counts = [f"{len(found)} runs", f"{live} running"] + ([f"{queued} queued"] if queued else [])
        with self.app.batch_update():
            self.say("#runs-title", f"Runs   {', '.join(counts)}   {self.root}")
            self.query_one(Table).fill(found)
            self._describe(self.query_one(Table).highlighted)

    def on_table_highlighted(self, message: Table.Highlighted) -> None:
        self._describe(message.row)

    def on_table_selected(self, message: Table.Selected) -> None:
        self.post_message(MonitorRequested(self._run(message.row)))

    def _describe(self, run: RunStatus | None) -> None:
        """The line under the list: what the columns had no room for."""
        line = ""
        if run:
            done = f"{share} of {short(run.tokens_total)} tokens" if (share := _done(run)) else ""
            of = f"feature {run.target} of {' · '.join(filter(None, (run.model, run.sae)))}"
            parts = [run.message or "", of, run.summary, done, run.note]
            line = " · ".join(part for part in parts if part)
        self.say("#run-line", line)

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
        if run is None or row is None:
            return
        if row.state in LIVE:
            ask_to_stop(self, run)
        else:
            self.notify(f"{run.id} is {row.state}: there is nothing to stop · D deletes it")

    def action_delete_listed(self) -> None:
        """The marked runs; the one under the cursor where none is."""
        chosen = [Run(self.root / id) for id in self.marks.runs] or [self.highlighted]
        if runs := [run for run in chosen if run]:
            self.run_worker(self._delete(runs), group="delete", exclusive=True)

    async def _delete(self, runs: list[Run]) -> None:
        try:
            lost = await asyncio.to_thread(losses, runs)
            question = "\n".join([f"Delete for good: {total(lost)}?", *(loss.line for loss in lost)])
            if not await self.app.push_screen_wait(Confirm(question, "delete", "keep")):
                return
            for run in runs:
                await asyncio.to_thread(remove_run, run)
                if self.marks.colour(run.id) is not None:
                    self.marks.toggle(run.id)
            self.notify(f"deleted: {total(lost)}")
        except UserError as error:
            self.notify(str(error), severity="warning")
        self.look_now()

    def action_judge_listed(self) -> None:
        if run := self.highlighted:
            self.post_message(JudgeRequested(run))

    def action_log_listed(self) -> None:
        if run := self.highlighted:
            self.app.push_screen(LogScreen(run.log_path))

    def action_mark_listed(self) -> None:
        table = self.query_one(MarkedTable)
        if row := table.highlighted:
            table.toggle(self.marks, row.id)

    def action_curves_listed(self) -> None:
        """Of the marked runs; of the one under the cursor where none is."""
        if not self.marks.runs and (run := self.highlighted):
            self.marks.toggle(run.id)
        self.post_message(CurvesRequested())

    def action_leave_runs(self) -> None:
        self.dismiss()
