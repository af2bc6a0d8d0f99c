"""One study: its runs as a table, live; the way to each run's curves, monitor and verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from saetui.errors import UserError
from saetui.runs.store import Run
from saetui.studies.launcher import start, stop
from saetui.studies.results import RowResult
from saetui.studies.status import StudyStatus, summary
from saetui.studies.store import Study
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.marked_table import MarkedTable
from saetui.tui.marks import Marks
from saetui.tui.run_messages import CurvesRequested, JudgeRequested, MonitorRequested
from saetui.tui.screens.log import LogScreen
from saetui.tui.screens.of_study import OfStudyScreen
from saetui.tui.screens.polling import INTERVAL_S, PollingScreen
from saetui.tui.shell_words import command
from saetui.tui.study_table import CellRow, cell_columns, cell_rows, clock_name, same_for_all, seed_columns
from saetui.tui.study_watch import SeenReport, SeenStudies, SeenStudy
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.confirm import Confirm
from saetui.tui.widgets.table import Table

if TYPE_CHECKING:
    from saetui.split.finding.report import SplitReport


class StudyScreen(OfStudyScreen):
    """Closing it, or saetui, leaves the study alone: it has a process of its own."""

    BINDINGS: ClassVar = [*bindings("study"), Binding("enter", "open", "Monitor")]
    CSS_PATH = "study.tcss"

    def __init__(
        self, study: Study, marks: Marks, symbols: Symbols = "braille", interval: float = INTERVAL_S
    ) -> None:
        super().__init__(study, interval)
        self.marks = marks
        self.symbols: Symbols = symbols
        self.seen: SeenReport | None = None
        self._shape: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(f"{self.study.name}: reading …", id="study-title", markup=False)
        yield Static("", id="study-common", markup=False)
        yield MarkedTable[CellRow]([], key=lambda row: row.result.cell.id, empty="reading …", id="cells")
        yield Table[RowResult]([], key=lambda row: (row.row, row.target), empty="reading …", id="seeds")
        yield Static("", id="study-line", markup=False)
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one("#seeds").display = False
        self.cells.focus()

    def on_screen_resume(self) -> None:
        self.cells.redraw_cells()  # another screen may have changed the marks

    @property
    def cells(self) -> MarkedTable[CellRow]:
        return self.query_one("#cells", MarkedTable)

    def show(self, found: SeenStudies[SeenReport]) -> None:
        if found.problems:
            self.say("#study-title", found.problems[0])
            self.query_one("#study-title").add_class("-error")
        if not found.studies:
            self.cells.empty = "nothing to show"
            self.cells.refresh()
            return
        self.query_one("#study-title").remove_class("-error")
        (self.seen,) = found.studies
        self._show(self.seen)

    def _show(self, seen: SeenReport) -> None:
        rows = cell_rows(seen.status, seen.report)
        seeds = self.query_one("#seeds", Table)
        fixed = same_for_all(rows)
        clock = clock_name(rows)
        shape = (fixed, clock, [list(row.result.f1) for row in rows], [row.result.cell for row in rows])
        with self.app.batch_update():
            if self._shape != shape:
                self._shape = shape
                self.cells.set_columns(cell_columns(rows, self.marks, self.symbols))
            seeds.set_columns(seed_columns(seen.report.rows, clock))
            self.say("#study-title", title(seen))
            self.say("#study-common", line := common(fixed))
            self.query_one("#study-common").display = bool(line)
            self.cells.fill(rows)
            seeds.fill(seen.report.rows)
            self._describe()

    def on_table_highlighted(self) -> None:
        self._describe()

    def _describe(self) -> None:
        """The line under the table: what the columns had no room for."""
        if self.query_one("#seeds").display:
            row = self.query_one("#seeds", Table).highlighted
            line = f"{row.purpose or row.row} · seeds {', '.join(map(str, row.seeds))}" if row else ""
        else:
            row = self.cells.highlighted
            line = about(row) if row else ""
        self.say("#study-line", line)

    # -- the run under the cursor

    @property
    def _run(self) -> Run | None:
        row = self.cells.highlighted
        return Run(self.study.runs_root / row.result.run) if row and row.result.run else None

    def _with_run(self, use: Callable[[Run], object]) -> None:
        if self.query_one("#seeds").display:
            self.notify("t shows the runs")
        elif run := self._run:
            use(run)
        else:
            self.notify("it has no run yet")

    def on_table_selected(self, message: Table.Selected) -> None:
        self._with_run(lambda run: self.post_message(MonitorRequested(run)))

    def action_judge_cell(self) -> None:
        self._with_run(lambda run: self.post_message(JudgeRequested(run)))

    def action_report_cell(self) -> None:
        self._with_run(lambda run: self.run_worker(self._open_report(run), group="report", exclusive=True))

    async def _open_report(self, run: Run) -> None:
        from saetui.tui.screens.split_report import SplitReportScreen, stored_report

        twin = command("judge", run.id, "--report")
        if (report := await asyncio.to_thread(stored_report, run)) is None:
            self.notify(f"no split report is stored with it: {twin} makes one")
        else:

            async def stored(_: object) -> SplitReport:
                return report

            self.app.push_screen(SplitReportScreen(run.id, stored, [twin]))

    def action_mark_cell(self) -> None:
        self._with_run(lambda run: self.cells.toggle(self.marks, run.id))

    def action_curves_study(self) -> None:
        """Of the marked runs; of the one under the cursor where none is."""
        if not self.marks.runs:
            self._with_run(lambda run: self.marks.toggle(run.id))
        if self.marks.runs:
            self.post_message(CurvesRequested())

    # -- the study

    def action_over_seeds(self) -> None:
        seeds = self.query_one("#seeds", Table)
        seeds.display, self.cells.display = not seeds.display, seeds.display
        (seeds if seeds.display else self.cells).focus()
        self._describe()

    def action_study_tables(self) -> None:
        from saetui.tui.screens.study_tables import StudyTablesScreen

        self.app.push_screen(StudyTablesScreen(self.study))

    def action_continue_study(self) -> None:
        go_on(self, self.study)

    def action_stop_study(self) -> None:
        ask_to_stop(self, self.study)

    def action_study_log(self) -> None:
        self.app.push_screen(LogScreen(self.study.log_path))

    def action_leave_study(self) -> None:
        self.dismiss()


def go_on(screen: PollingScreen[Any], study: Study) -> None:
    """Starts the process of a study: what is finished stays, what is missing is queued."""

    async def work() -> None:
        try:
            begun = await asyncio.to_thread(start, study)
        except (UserError, OSError) as error:
            screen.notify(str(error), severity="error")
            return
        screen.notify(
            f"{study.name} goes on, also when you leave" if begun else f"{study.name} is at work already"
        )
        screen.look_now()

    screen.run_worker(work(), group="study-start", exclusive=True)


def ask_to_stop(screen: PollingScreen[Any], study: Study) -> None:
    """Asks, and stops the study's process and its runs."""

    async def work() -> None:
        try:
            await asyncio.to_thread(stop, study)
            screen.notify(f"{study.name} stops; its runs save a checkpoint first")
        except (UserError, OSError) as error:
            screen.notify(str(error), severity="warning")
        screen.look_now()

    def answered(yes: bool | None) -> None:
        if yes:
            screen.run_worker(work(), group="study-stop", exclusive=True)

    question = f"Stop {study.name}? Its runs save a checkpoint first; g goes on with it."
    screen.app.push_screen(Confirm(question, "stop it"), answered)


def title(seen: SeenStudy) -> str:
    status: StudyStatus = seen.status
    split = f"split {seen.successes} of {seen.judged} judged · " if seen.judged else ""
    return f"{status.name}   {split}{summary(status)}   {status.title}"


def common(fixed: dict[str, str]) -> str:
    """What all recipes have; a graft has none of the axes but its children."""
    known = {name: value for name, value in fixed.items() if value != "–"}
    return "all runs: " + " · ".join(f"{name} {value}" for name, value in known.items()) if known else ""


def about(row: CellRow) -> str:
    result = row.result
    parts = [
        result.cell.id,
        result.run or "",
        result.message or "",
        result.found.why if result.found else "",
        result.cell.purpose,
        f"no {', '.join(result.missing)}" if result.missing and result.children else "",
    ]
    return " · ".join(part for part in parts if part)
