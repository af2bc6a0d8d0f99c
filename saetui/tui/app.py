"""The workbench: starts the engine, polls the runs, and leads from screen to screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual import events
from textual.app import App, SystemCommand
from textual.screen import Screen
from textual.timer import Timer

from saetui import settings
from saetui.errors import UsageError, UserError
from saetui.feature_marks import FeatureMarks
from saetui.setup import Setup
from saetui.tui import collector, disk, keymap
from saetui.tui.actions import ACTIONS, bindings
from saetui.tui.ascii import AsciiFilter
from saetui.tui.connection import Connect, connect_engine
from saetui.tui.marks import Marks
from saetui.tui.poller import Poller
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.feature import FeatureScreen
from saetui.tui.session import Session
from saetui.tui.state import StateFile
from saetui.tui.underway import Underway

if TYPE_CHECKING:
    from saetui.runs.store import Run
    from saetui.tui.census_taking import CensusTaking
    from saetui.tui.run_messages import JudgeRequested, MonitorRequested, RunControlRequested
    from saetui.tui.screens.export import Export
    from saetui.tui.widgets.canvas import Symbols

POLL_S = 1.0
"""Seconds between two looks at the runs."""
REST_S = 1.0
"""Seconds without a key after which the hand rests."""


class Workbench(App[None]):
    TITLE = "saetui"
    # The default screen's own style sheet too: Textual reads a screen's only when it is pushed.
    CSS_PATH = ["app.tcss", "screens/feature.tcss"]  # noqa: RUF012
    BINDINGS = bindings("app")

    def __init__(self, setup: Setup, connect: Connect = connect_engine) -> None:
        """UserError where the setup names no embedded world that is here, or the settings are wrong."""
        super().__init__()
        self.settings = settings.load_settings()
        try:
            self.keymap_checked = keymap.checked(self.settings.keys) if self.settings.keys else {}
        except UsageError as error:
            raise UsageError(f"{settings.settings_path()}: {error}") from None
        if self._symbols == "ascii":
            self._filters.append(AsciiFilter())
        self.session = Session(setup, connect)
        self.watch_runs = RunWatch(settings.runs_root())
        self.marks = Marks()
        self.census: CensusTaking | None = None
        self.feature_marks = FeatureMarks(setup)
        self.feature_screen = FeatureScreen(
            self.session, self.watch_runs, StateFile(setup), self.feature_marks, self._symbols
        )
        self._live: set[str] = set()
        self._resting: Timer | None = None
        self._changes = 0
        """Of the runs, as last told."""
        self._poller = Poller(self._look, lambda marks: self.call_later(self._runs_changed, marks), POLL_S)

    def get_default_screen(self) -> Screen[None]:
        return self.feature_screen

    def on_mount(self) -> None:
        if self.settings.theme:
            self._set_theme(self.settings.theme)
        self.set_keymap(self.keymap_checked)
        # The first frame first: the engine's process start and the runs' files can wait for it.
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        collector.resume()
        self._resting = self.set_interval(REST_S, collector.rest)
        self.run_worker(self.session.start(), group="engine", exclusive=True)
        self._poller.start()

    async def on_unmount(self) -> None:
        self._poller.close()
        await self.session.close()
        await asyncio.to_thread(disk.flush)

    async def on_event(self, event: events.Event) -> None:
        if self._resting is not None and isinstance(event, events.Key):
            self._resting.reset()
        await super().on_event(event)

    def notify(self, message: str, *, markup: bool = False, **options: Any) -> None:
        """Notices are plain text: paths, tokens and errors may hold brackets. What a widget's own ``notify``
        asks for is not heard, as it asks for markup where nobody says so."""
        super().notify(message, markup=False, **options)

    def _set_theme(self, name: str) -> None:
        if name in self.available_themes:
            self.theme = name
        else:
            self.notify(f"no theme {name!r}: the palette (ctrl+p) lists them", severity="warning")

    def _look(self) -> bool | None:
        """In the poller's thread. None: nothing is new; else whether marks are."""
        try:
            marks = self.feature_marks.stale() and self.feature_marks.refresh()
            before, self._changes = self._changes, self.watch_runs.poll()
            return marks if marks or self._changes != before else None
        except OSError:  # a file system that is away for a moment; the next look may find it back
            return None

    def _runs_changed(self, marks: bool = False) -> None:
        self._tell_ends()
        self.feature_screen.runs_changed()
        if marks:
            self.feature_screen.marks_changed()

    def _tell_ends(self) -> None:
        """One notice for every run that ended since the last look; a graft's end is seen in its pane."""
        for seen in self.watch_runs.runs:
            status = seen.status
            if status.id in self._live and not seen.live and status.kind == "split":
                what = f": {status.message}" if status.message else ""
                ok = status.state == "finished"
                then = " · r lists it, v there judges it" if ok else ""
                if (
                    ok
                    and self.session.made(seen.setup)
                    and status.target == self.feature_screen.selected.feature
                ):
                    then += " · o shows its children"
                self.notify(
                    f"{status.id} {status.state}{what}{then}", severity="information" if ok else "warning"
                )
        self._live = {seen.run.id for seen in self.watch_runs.runs if seen.live}

    # -- screens

    def action_help(self) -> None:
        from saetui.tui.screens.help import HelpScreen

        here = [active.binding.id or "" for active in self.screen.active_bindings.values()]
        self.push_screen(HelpScreen(self.keymap_checked, here))

    def action_runs(self) -> None:
        from saetui.tui.screens.runs import RunsScreen

        self.push_screen(RunsScreen(self.watch_runs, self._symbols, marks=self.marks))

    def action_studies(self) -> None:
        from saetui.tui.screens.studies import StudiesScreen

        self.push_screen(StudiesScreen(self.watch_runs, self.session.setup, self.marks, self._symbols))

    def action_census(self) -> None:
        from saetui.tui.census_taking import CensusTaking
        from saetui.tui.screens.census import CensusScreen, Chosen

        if self.census is None:
            self.census = CensusTaking(self.session)

        def go(chosen: Chosen | None) -> None:
            if chosen is None:
                return
            while self.screen is not self.feature_screen:
                self.pop_screen()
            self.feature_screen.take_up(chosen)

        self.push_screen(CensusScreen(self.census), go)

    @property
    def _symbols(self) -> Symbols:
        return cast("Symbols", self.settings.symbols)

    def on_monitor_requested(self, message: MonitorRequested) -> None:
        from saetui.tui.screens.monitor import MonitorScreen

        self.push_screen(MonitorScreen(message.run, self._symbols, marks=self.marks))

    def on_curves_requested(self) -> None:
        from saetui.tui.screens.curves import CurvesScreen

        self.push_screen(CurvesScreen(self.watch_runs.root, self.marks, self._symbols))

    def on_run_control_requested(self, message: RunControlRequested) -> None:
        self.run_worker(self._control(message), group=f"control-{message.run.id}")

    async def _control(self, message: RunControlRequested) -> None:
        from saetui.runs.launcher import request, resume

        run, what = message.run, message.what
        try:
            if what == "resume":
                await asyncio.to_thread(resume, run)
                self.notify(f"{run.id} goes on from its last checkpoint")
            else:
                await asyncio.to_thread(request, run, what)
                self.notify(f"{run.id} was asked to {what}; it saves a checkpoint first")
        except (UserError, OSError) as error:
            self.notify(str(error), severity="error")
        self._poller.look_now()

    def on_judge_requested(self, message: JudgeRequested) -> None:
        """Judges the run and lets the person confirm or overrule."""
        self.run_worker(self._review_one(message.run), group="review", exclusive=True)

    async def _review_one(self, run: Run) -> None:
        try:
            status = await asyncio.to_thread(run.state)
            if status != "finished":
                raise UserError(f"{run.id} is {status}: it can be judged when it has finished")
            await self._review([run])
        except (UserError, OSError) as error:
            self.notify(str(error), severity="warning")

    def action_review_all(self) -> None:
        """The finished runs of this model and SAE that have questions open, the oldest first."""
        self.run_worker(self._review_all(), group="review", exclusive=True)

    async def _review_all(self) -> None:
        from saetui.split.judging.review import is_open

        made = self.session.made
        runs = [seen.run for seen in reversed(self.watch_runs.runs) if seen.status.state == "finished"]

        def waiting() -> list[Run]:
            return [run for run in runs if made(run.manifest.setup) and is_open(run.folder)]

        try:
            queue = await asyncio.to_thread(waiting)
            if queue:
                await self._review(queue)
            elif runs:
                self.notify("no finished run of this model and SAE has questions open")
            else:
                self.notify("no run has finished yet: g grafts a feature, s launches a split")
        except (UserError, OSError) as error:
            self.notify(str(error), severity="warning")

    async def _review(self, runs: list[Run]) -> None:
        """UserError where a run has no manifest that can be read."""
        from saetui.tui.screens.review import ReviewScreen, Subject

        def subject(run: Run) -> Subject:
            title = f"{run.manifest.kind} {run.id} of feature {run.manifest.recipe['target']}"
            return Subject(run.id, run.folder, title, partial(self._judge, run))

        subjects = await asyncio.to_thread(lambda: [subject(run) for run in runs])
        self.push_screen(ReviewScreen(subjects))

    async def _judge(self, run: Run, say: Callable[[str], None]) -> None:
        """Has the engine judge a run, and stores what it says."""
        from saetui.split.judging.review import store_judgement

        setup = run.manifest.setup
        if not self.session.made(setup):
            raise UserError(
                f"{run.id} was made on {setup['model']}: open that one to judge it "
                f"(saetui open --model {setup['model']})"
            )

        underway = Underway("judging …")

        def progress(message: dict[str, object]) -> None:
            say(underway.line(message))

        await disk.write(store_judgement, run.folder, await self.session.judge(run.id, progress))

    # -- export

    def action_export(self) -> None:
        from saetui.tui.exporting import exportable, twins
        from saetui.tui.screens.export import ExportScreen

        screen = self.screen

        async def export(chosen: Export | None) -> None:
            if chosen is None:
                return
            if chosen.form == "command":
                await self.action_copy_twin()
            else:  # once the dialog is off the screen
                screen.call_after_refresh(lambda: self.run_worker(self._export(screen, chosen)))

        self.push_screen(ExportScreen(exportable(screen), twins(screen)), export)

    async def _export(self, screen: Screen[Any], chosen: Export) -> None:
        from saetui.tui import exporting
        from saetui.tui.clipboard import copy

        stem = exporting.stem(screen)
        try:
            if chosen.widget is not None:
                stem = f"{stem}-{chosen.name}"
                text = exporting.records_text(chosen.widget, chosen.form)
            else:
                text = exporting.screen_svg(self) if chosen.form == "svg" else exporting.screen_text(screen)
            path = await disk.write(exporting.write_new, stem, chosen.form, text)
            # Its name first: however long the folder is, that is read.
            where = exporting.short_path(path.parent)
            copied = await copy(self, str(path))
            self.notify(f"written: {path.name}\nin {where}\nits path is {copied}", timeout=10)
        except UserError as error:
            self.notify(str(error), severity="error")

    async def action_copy_twin(self) -> None:
        from saetui.tui.clipboard import copy
        from saetui.tui.exporting import twins

        if commands := twins(self.screen):
            self.notify("\n".join([*commands, await copy(self, "\n".join(commands))]))
        else:
            self.notify("nothing here that a command could show (yet)")

    def action_restart_engine(self) -> None:
        self.run_worker(self.session.restart(), group="engine", exclusive=True)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The registry's actions that are valid on ``screen``, and Textual's theme chooser."""
        bound = {active.binding.id: active for active in screen.active_bindings.values() if active.enabled}
        for action in ACTIONS:
            if active := bound.get(action.id):
                call = partial(self.run_action, active.binding.action, active.node)
                yield SystemCommand(action.label, f"{action.help} ({active.binding.key})", call)
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)


def run_workbench(setup: Setup) -> None:
    """Opens the workbench until the person leaves it. UserError as ``Workbench``."""
    Workbench(setup).run()
