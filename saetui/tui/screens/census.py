"""The census: which features hide several contexts, and before any training, which to split next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Static

from saetui.errors import UserError
from saetui.tui.actions import bindings
from saetui.tui.census_table import agreement_line, census_columns, rank_columns, reasons
from saetui.tui.census_taking import CensusTaking, Line, Stage
from saetui.tui.connection import Phase
from saetui.tui.key_line import KeyLine
from saetui.tui.screens.top_study import TopStudy, TopStudyScreen, run_words, write_study
from saetui.tui.shell_words import command, setup_words
from saetui.tui.study_start import start_study
from saetui.tui.widgets.table import Table

if TYPE_CHECKING:
    from saetui.split.recipe import GraftRecipe

BAR = 20


@dataclass(frozen=True)
class Chosen:
    """What the person wants with a feature: look at it (with the children of its census, where ``recipe``
    makes them), graft it, or fill in the form of a wide split."""

    what: Literal["look", "graft", "split"]
    feature: int
    recipe: GraftRecipe | None = None


class CensusScreen(Screen["Chosen | None"]):
    """Answers with the feature to go to. The census goes on when this is left."""

    BINDINGS: ClassVar = [*bindings("census"), Binding("enter", "open", "Look", show=True)]
    CSS_PATH = "census.tcss"

    def __init__(self, census: CensusTaking) -> None:
        super().__init__()
        self.census = census
        self._by_rank = not census.measured

    def compose(self) -> ComposeResult:
        yield Static("", id="census-title", markup=False)
        yield Static("", id="census-state", markup=False)
        yield Table[Line](census_columns(), key=lambda line: line.feature, id="measured")
        yield Table[Line](rank_columns(), key=lambda line: line.feature, id="ranked")
        yield Static("", id="census-line", markup=False)
        yield KeyLine()

    def headless(self) -> list[str]:
        setup = setup_words(self.census.session.setup)
        return [command("census", *(["--before"] if self._by_rank else []), *setup)]

    @property
    def export_stem(self) -> str:
        return f"census-{Path(self.census.session.setup.model).name}"

    def on_mount(self) -> None:
        self.query_one("#measured", Table).sort_by("context", reverse=True)
        self.census.listen(self.show)
        self.census.session.listen(self._engine_changed)
        self._turn()
        self.census.look()
        self.show()

    def on_unmount(self) -> None:
        self.census.forget(self.show)
        self.census.session.forget(self._engine_changed)

    def _engine_changed(self) -> None:
        if self.is_running:
            self.census.look()
            self.show()

    # -- showing

    @property
    def table(self) -> Table[Line]:
        return self.query_one("#ranked" if self._by_rank else "#measured", Table)

    def _turn(self) -> None:
        for table in self.query(Table):
            table.display = table is self.table
        self.table.focus()

    def show(self) -> None:
        if not self.is_running:
            return
        lines = self.census.lines
        with self.app.batch_update():
            for table in self.query(Table):
                table.empty = self._empty()
                table.fill([line for line in lines if table.id == "ranked" or line.found])
            self._say("#census-title", self._title())
            self._say("#census-state", self._state())
            self.query_one("#census-state").set_class(bool(self.census.error) or self._dead, "-error")
            self._describe(self.table.highlighted)

    def _say(self, selector: str, line: str) -> None:
        shown = self.query_one(selector, Static)
        if str(shown.content) != line:
            shown.update(line)

    @property
    def _dead(self) -> bool:
        return self.census.session.state.phase in (Phase.DIED, Phase.REFUSED)

    def _title(self) -> str:
        census = self.census
        here = "Next feature, before any training" if self._by_rank else "Census"
        other = "tab: the census" if self._by_rank else "tab: which feature next"
        of = f" of {census.features}" if census.features else ""
        counts = f"{census.measured}{of} features grafted" if census.measured or census.features else ""
        return "   ".join(filter(None, (here, census.session.setup.model, counts, other)))

    def _state(self) -> str:
        census, session = self.census, self.census.session
        if self._dead or (session.opened is None and not census.lines):
            return session.state.line
        if census.error:
            return census.error
        if census.busy:
            done = round(census.share * BAR)
            bar = "━" * done + "╌" * (BAR - done)
            stop = " · escape stops, nothing is lost" if census.stage is Stage.TAKING else ""
            return f"{bar} {census.message or 'asking the engine …'}{stop}"
        if census.complete:
            return agreement_line(census.agreement)
        return "c takes the census: every feature is grafted and measured on held-out text" + (
            ", on from where it was" if census.measured else ""
        )

    def _empty(self) -> str:
        if self.census.busy or self.census.session.opened is None:
            return "coming …"
        return "nothing is measured yet: c takes the census" if not self._by_rank else "nothing is ranked"

    def on_table_highlighted(self, message: Table.Highlighted) -> None:
        if message.table is self.table:
            self._describe(message.row)

    def _describe(self, line: Line | None) -> None:
        self._say("#census-line", reasons(line) if line else "")

    # -- actions

    def action_turn_census(self) -> None:
        line = self.table.highlighted
        self._by_rank = not self._by_rank
        self._turn()
        self.show()
        if line:
            self.table.select_key(line.feature)

    def action_take_census(self) -> None:
        if self._dead or self.census.session.opened is None:
            self.notify(f"the engine is not ready: {self.census.session.state.line}", severity="warning")
        elif self.census.busy:
            self.notify("it is under way: escape stops it")
        elif self.census.complete:
            self.notify("every feature is measured")
        else:
            self.census.take()

    def _choose(self, what: Literal["look", "graft", "split"]) -> None:
        if (line := self.table.highlighted) is None:
            return
        recipe = None
        if what == "look" and line.found and line.found.children > 1:
            recipe = self.census.graft_recipe(line.found)
        self.dismiss(Chosen(what, line.feature, recipe))

    def on_table_selected(self, message: Table.Selected) -> None:
        self._choose("look")

    def action_graft_line(self) -> None:
        self._choose("graft")

    def action_split_line(self) -> None:
        self._choose("split")

    def action_top_study(self) -> None:
        """A study of the first features as they stand here, sorted and filtered."""
        features = [line.feature for line in self.table.rows]
        if not features:
            coming = self.census.busy or self.census.session.opened is None
            self.notify(
                "the list is not read yet: n takes the first of it once it is there"
                if coming
                else "no feature is listed here: there is none to take the first of"
            )
            return
        order = "rank" if self._by_rank else "census"
        self.app.push_screen(TopStudyScreen(self.census.session.setup, features, order), self._study)

    def _study(self, study: TopStudy | None) -> None:
        if study:
            self.run_worker(self._start(study), group="top-study", exclusive=True)

    async def _start(self, study: TopStudy) -> None:
        try:
            path = await asyncio.to_thread(write_study, study)
            self.notify(f"planning {study.name} …")
            name = await start_study(run_words(study, self.census.session.setup))
        except (UserError, OSError) as error:
            self.notify(str(error), severity="error", timeout=15)
            return
        self.notify(f"{name} is on its way; S follows it. Its file is {path}")

    def action_leave_census(self) -> None:
        """Escape undoes the nearest thing: the census under way, then the screen."""
        if self.census.stage is Stage.TAKING and self.census.cancel():
            return
        self.dismiss(None)
