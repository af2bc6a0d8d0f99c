"""The split report of a run: its word beside the limits that it stands on, the controls, how the candidates
fell away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from saetui.errors import UserError
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine

if TYPE_CHECKING:
    from saetui.runs.store import Run
    from saetui.split.finding.report import SplitReport

ReadReport = Callable[[Callable[[str], None]], Awaitable["SplitReport"]]
"""Gives the report, and meanwhile says in a line how far it is. UserError where there can be none."""


def stored_report(run: Run) -> SplitReport | None:
    """The one in the run's folder; None where there is none, or one of another version."""
    from saetui.engine.messages import decode
    from saetui.split.finding.report import SplitReport
    from saetui.studies.verdicts import read_report

    try:
        return decode(SplitReport, stored) if (stored := read_report(run.folder)) else None
    except (TypeError, KeyError, AttributeError):
        return None


class SplitReportScreen(Screen[None]):
    CSS = """
    SplitReportScreen #report-title { height: 1; text-style: bold; }
    SplitReportScreen VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
    SplitReportScreen #report-text { width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """
    BINDINGS = bindings("split report")

    def __init__(self, title: str, report: ReadReport, twin: list[str]) -> None:
        """``report``: who is to be asked for it; ``twin``: the commands that show the same in a
        shell."""
        super().__init__()
        self._title, self._report, self._twin = title, report, twin
        self.text = ""
        """What is shown."""

    def compose(self) -> ComposeResult:
        yield Static(self._title, id="report-title", markup=False)
        with VerticalScroll():
            yield Static("reading …", id="report-text")
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.read()

    def headless(self) -> list[str]:
        return self._twin

    @work(exclusive=True)
    async def read(self) -> None:
        from saetui.reports.split_report import report_text

        shown = self.query_one("#report-text", Static)
        try:
            self.text = report_text(await self._report(lambda line: shown.update(Text(line))))
        except UserError as error:
            self.text = str(error)
        shown.update(_coloured(self.text))

    async def action_copy_report(self) -> None:
        from saetui.tui.clipboard import copy

        self.notify(await copy(self.app, self.text))

    def action_leave_report(self) -> None:
        self.dismiss()


def _coloured(text: str) -> Text:
    """Marks in their colours, headings set off."""
    shown = Text()
    for line in text.splitlines():
        style = {"✓": "green", "✗": "red"}.get(line[:1])
        part = Text(line)
        if style:
            part.stylize(style, 0, 1)
        elif (
            line and not line.startswith(" ") and (line.startswith("child ") or line.endswith(("?", "away")))
        ):
            part.stylize("bold")
        shown.append_text(part).append("\n")
    return shown
