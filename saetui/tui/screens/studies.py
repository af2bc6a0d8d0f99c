"""All studies: those begun with where they stand and what came out, and those that ship, to be started."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from saetui.errors import UserError
from saetui.quantities import duration
from saetui.setup import Setup
from saetui.studies.file import load_study_file
from saetui.studies.shipped import shipped
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.marks import Marks
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.line_input import LineInput
from saetui.tui.screens.polling import INTERVAL_S, PollingScreen
from saetui.tui.screens.study import StudyScreen, ask_to_stop, go_on
from saetui.tui.shell_words import setup_words
from saetui.tui.study_start import plan_study, planned, start_study
from saetui.tui.study_watch import SeenStudy, all_studies
from saetui.tui.widgets.canvas import Symbols
from saetui.tui.widgets.confirm import Confirm
from saetui.tui.widgets.table import Column, Table

_STYLES = {"running": "busy", "finished": "good", "unfinished": "idle", "shipped": "idle"}
_SIGNS = {"running": "▶", "finished": "✓", "unfinished": "■", "shipped": " "}


@dataclass(frozen=True)
class StudyLine:
    """A study that was begun (``seen``), or one that ships."""

    name: str
    title: str
    seen: SeenStudy | None = None

    @property
    def state(self) -> str:
        return self.seen.status.state if self.seen else "shipped"


@dataclass(frozen=True)
class Listed:
    """All studies, those begun first, and a line for each that cannot be read."""

    lines: list[StudyLine]
    problems: list[str]


class StudiesScreen(PollingScreen[Listed]):
    BINDINGS: ClassVar = [*bindings("studies"), Binding("enter", "open", "Open")]
    CSS_PATH = "studies.tcss"

    def __init__(
        self,
        runs: RunWatch,
        setup: Setup,
        marks: Marks,
        symbols: Symbols = "braille",
        interval: float = INTERVAL_S,
    ) -> None:
        """``setup``: what a study that is started here works on where its file does not say."""
        super().__init__(interval)
        self.root, self.setup, self.marks = runs.root, setup, marks
        self.symbols: Symbols = symbols
        self._watch = all_studies(runs.root)
        self._runs = runs
        self._started_name = ""
        """Of a study that was started here and is not in the list yet: the cursor goes to it."""
        self._shipped: list[StudyLine] | None = None

    def look(self) -> Listed | None:
        if (found := self._watch.poll()) is None:
            return None
        if self._shipped is None:
            self._shipped = [StudyLine(n, load_study_file(path).title) for n, path in shipped().items()]
        begun = [StudyLine(s.study.name, s.status.title, s) for s in found.studies]
        begun.sort(key=lambda line: line.state != "running")
        return Listed([*begun, *self._shipped], found.problems)

    def compose(self) -> ComposeResult:
        yield Static("Studies   reading …", id="studies-title", markup=False)
        known = _of_begun
        yield Table[StudyLine](
            [
                Column("state", self._state, 12, lambda line: line.state,
                       style=lambda line: _STYLES[line.state]),
                Column("study", lambda line: line.name, 24, lambda line: line.name, grow=True),
                Column("runs", _finished, 9, known(lambda seen: (seen.status.finished,)), right=True),
                Column("at work", _at_work, 7, right=True, drop=3),
                Column("failed", _failed, 6, right=True, drop=2),
                Column("split", _split, 8, known(lambda seen: (seen.successes,)), right=True),
                Column("ETA", _eta, 6, known(lambda seen: seen.status.eta_s), right=True, drop=1),
                Column("what it asks", lambda line: line.title, 30, grow=True, drop=4),
            ],
            key=lambda line: (line.seen is None, line.name),
            empty="reading …",
        )  # fmt: skip
        yield Static("", id="studies-line", markup=False)
        yield KeyLine()

    def _state(self, line: StudyLine) -> str:
        return line.state if self.symbols == "ascii" else f"{_SIGNS[line.state]} {line.state}"

    def headless(self) -> list[str]:
        return ["saetui study list"]

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def show(self, found: Listed) -> None:
        begun = [line for line in found.lines if line.seen]
        live = sum(line.state == "running" for line in begun)
        counts = f"{len(begun)} begun, {live} running" if begun else "none begun: enter starts one that ships"
        with self.app.batch_update():
            self.say("#studies-title", f"Studies   {counts}   {self.root}")
            table = self.query_one(Table)
            table.empty = "no study is here"
            table.fill(found.lines)
            if table.select_key((False, self._started_name)):
                self._started_name = ""
            if found.problems:
                self.say("#studies-line", found.problems[0])
            else:
                self._describe(table.highlighted)

    def on_table_highlighted(self, message: Table.Highlighted) -> None:
        self._describe(message.row)

    def _describe(self, line: StudyLine | None) -> None:
        self.say("#studies-line", line.title if line else "")

    # -- actions

    @property
    def _line(self) -> StudyLine | None:
        return self.query_one(Table).highlighted

    def on_table_selected(self, message: Table.Selected) -> None:
        line: StudyLine = message.row
        if line.seen:
            self.app.push_screen(StudyScreen(line.seen.study, self.marks, self.symbols))
        else:
            self.action_new_study()

    def action_new_study(self) -> None:
        """A shipped one, or the name of a file: what ``saetui study run`` takes."""
        line = self._line
        name = line.name if line and not line.seen else "FILE.toml"
        words = shlex.join([name, *setup_words(self.setup)])
        dialog = LineInput("Start a study: saetui study run …", words, "shows what it comes to", "leaves it")
        self.app.push_screen(dialog, self._start)

    def _start(self, words: str | None) -> None:
        if words:
            self.run_worker(self._started(words), group="study-start", exclusive=True)

    async def _started(self, words: str) -> None:
        """Planned, confirmed, started: a plan is what ``--dry-run`` shows, so that word adds nothing."""
        try:
            study = [word for word in shlex.split(words) if word != "--dry-run"]
            self.say("#studies-line", f"planning {words} … escape leaves it")
            plan = await plan_study(study)
            comes_to = await asyncio.to_thread(planned, plan, self._runs)
            first = ", ".join(cell.id for cell in plan.cells[:3])
            some = f"{first} …" if len(plan.cells) > 3 else first
            self.say("#studies-line", "")
            if not await self.app.push_screen_wait(Confirm(f"Start {words}?\n{comes_to}.\n{some}", "start")):
                return
            self.say("#studies-line", f"starting {words} … escape leaves it")
            self._started_name = await start_study(study)
            self.notify(f"{self._started_name} is on its way; it goes on when you leave")
            self.look_now()
        except (UserError, ValueError) as error:  # ValueError: a quotation that does not end
            self.notify(str(error), severity="error", timeout=15)
        finally:
            if self.is_running:
                self.say("#studies-line", "")

    def action_continue_listed(self) -> None:
        if (line := self._line) is None:
            return
        if line.seen:
            go_on(self, line.seen.study)
        else:
            self.action_new_study()

    def action_stop_study_listed(self) -> None:
        line = self._line
        if line and line.seen:
            ask_to_stop(self, line.seen.study)

    def action_leave_studies(self) -> None:
        """Escape undoes the nearest thing: a study that is being planned."""
        if self.workers.cancel_group(self, "study-start"):
            self.say("#studies-line", "")
        else:
            self.dismiss()


def _of_begun(value: Callable[[SeenStudy], Any]) -> Callable[[StudyLine], Any]:
    """A value of studies that were begun, to sort by."""
    return lambda line: value(line.seen) if line.seen else None


def _finished(line: StudyLine) -> str:
    return f"{line.seen.status.finished} of {len(line.seen.status.cells)}" if line.seen else ""


def _at_work(line: StudyLine) -> str:
    return str(line.seen.status.count("running", "judging") or "") if line.seen else ""


def _failed(line: StudyLine) -> str:
    return str(len(line.seen.status.failed) or "") if line.seen else ""


def _split(line: StudyLine) -> str:
    return f"{line.seen.successes} of {line.seen.judged}" if line.seen and line.seen.judged else ""


def _eta(line: StudyLine) -> str:
    return duration(line.seen.status.eta_s) if line.seen and line.seen.status.eta_s is not None else ""
