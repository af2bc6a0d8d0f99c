"""The workbench's main screen: five panes that all follow one selected feature."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from saetui.errors import UserError
from saetui.feature_marks import FeatureMarks, Mark
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.panes.children import ChildrenPane
from saetui.tui.panes.contexts import ContextsPane
from saetui.tui.panes.lens import LensPane
from saetui.tui.panes.pane import Pane
from saetui.tui.panes.pane_grid import PaneGrid
from saetui.tui.panes.prompt import PromptPane
from saetui.tui.panes.run import RunPane
from saetui.tui.run_messages import JudgeRequested
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.feature_lines import feature_line, first_steps, run_line
from saetui.tui.selection import History, Selected
from saetui.tui.session import NARROW, Phase, Session
from saetui.tui.splitting import Splitting
from saetui.tui.state import State, StateFile
from saetui.visible import visible

if TYPE_CHECKING:
    from saetui.runs.store import Run
    from saetui.split.recipe import GraftRecipe
    from saetui.tui.screens.census import Chosen
    from saetui.tui.widgets.canvas import Symbols


class FeatureScreen(Screen[None]):
    BINDINGS = bindings("workbench", "panes", "prompt", "contexts", "children")

    # Textual's own paints the whole screen anew when the focus moves; the two widgets concerned do that.
    focused = Reactive[Widget | None](None, repaint=False)

    def __init__(
        self,
        session: Session,
        watch: RunWatch,
        memory: StateFile,
        marks: FeatureMarks,
        symbols: Symbols = "braille",
    ) -> None:
        super().__init__()
        self.session = session
        self._symbols: Symbols = symbols
        self._watch = watch
        self._memory = memory
        self._marks = marks
        self.state: State = memory.load()
        if session.narrow_features is None:
            session.narrow_features = self.state.features
        self.history = History()
        self.just_ended: Run | None = None
        """The run whose end was the last one told, until it is judged."""
        self.prompt = PromptPane(
            session, self.state.prompt or session.prompts[0], self.state.beside, self.state.leading
        )
        self.contexts = ContextsPane(session, symbols)
        self.lens = LensPane(session)
        self.children_pane = ChildrenPane(session, watch)
        self.run_pane = RunPane(session, watch, symbols)
        self.splitting = Splitting(self, session, watch, self.show_graft, self.show_launched)
        self.grid = PaneGrid(
            ((self.prompt, self.contexts), (self.lens, self.children_pane), (self.run_pane,)),
            self.state.pane,
            self.state.zoomed,
        )

    def compose(self) -> ComposeResult:
        yield Static("", id="feature-bar", markup=False)
        yield Static("", id="note", markup=False)
        yield self.grid
        yield Static("", id="hint", markup=False)
        with Horizontal(id="status"):
            yield Static("", id="engine-line", markup=False)
            yield Static("", id="run-line", markup=False)
        yield KeyLine()

    def on_mount(self) -> None:
        self.session.listen(self.engine_changed)
        feature = self.session.target if self.state.feature is None else self.state.feature
        self.select(Selected(self.state.sae or NARROW, feature))
        self.engine_changed()
        self.grid.active_pane.focus_main()

    def on_unmount(self) -> None:
        self.session.forget(self.engine_changed)

    @property
    def panes(self) -> tuple[Pane, ...]:
        return self.grid.panes

    # -- the selected feature

    @property
    def selected(self) -> Selected:
        current = self.history.current
        assert current is not None  # on_mount selects the first one
        return current

    def select(self, selected: Selected, passing: bool = False) -> None:
        """Makes ``selected`` the feature that every pane follows. Of one that is only walked over, nothing is
        opened or found anew: the children stay those of the feature before."""
        self.history.visit(selected, passing)
        self._follow(passing)

    def _follow(self, passing: bool = False) -> None:
        selected = self.selected
        # A run's SAE is known to the engine only while it is open; what is remembered is the narrow one's.
        if selected.sae == NARROW:
            self.remember(sae=selected.sae, feature=selected.feature)
        for pane in self.panes:
            if not (passing and pane is self.children_pane):
                pane.follow(selected)
        self.show_bar()
        self.show_hint()

    def on_pane_feature_chosen(self, message: Pane.FeatureChosen) -> None:
        self.select(message.selected, message.passing)

    def action_back(self) -> None:
        self._step(-1, "no feature was visited before this one")

    def action_forward(self) -> None:
        self._step(1, "no feature was visited after this one")

    def _step(self, by: int, otherwise: str) -> None:
        if self.history.step(by) is None:
            self.notify(otherwise)
        else:
            self._follow()

    def action_next_feature(self) -> None:
        self._neighbouring(1)

    def action_previous_feature(self) -> None:
        self._neighbouring(-1)

    def _neighbouring(self, by: int) -> None:
        selected = self.selected
        if size := self.session.size(selected.sae):
            self.select(Selected(selected.sae, (selected.feature + by) % size))
        else:
            self.notify(f"how many features it has is not known yet: {self.session.state.line}")

    def action_target(self) -> None:
        self.select(Selected(NARROW, self.session.target))

    def action_find(self) -> None:
        from saetui.tui.screens.find import FindScreen

        def go(chosen: Selected | Mark | None) -> None:
            if isinstance(chosen, Selected):
                self.select(chosen)
            elif chosen is not None:
                self.run_worker(self._go_to_mark(chosen), group="go", exclusive=True)

        screen = FindScreen(self.session, self._marks, self.selected, self.history.recent(20))
        self.app.push_screen(screen, go)

    async def _go_to_mark(self, mark: Mark) -> None:
        """To a feature of an SAE that may not be open any more."""
        try:
            self.select(Selected(await self.session.at_place(mark.sae), mark.feature))
        except UserError as error:
            self.notify(str(error), severity="warning")

    @property
    def export_stem(self) -> str:
        return f"{self.session.title(self.selected.sae)}-{self.selected.feature}"

    # -- what is kept of it

    @property
    def mark(self) -> Mark:
        return self._marks.of(self.session.place(self.selected.sae) or "", self.selected.feature)

    async def action_bookmark(self) -> None:
        on = not self.mark.bookmarked
        await self._keep(lambda sae, feature: self._marks.bookmark(sae, feature, on))

    def action_note_feature(self) -> None:
        from saetui.tui.screens.line_input import LineInput

        selected = self.selected

        async def keep(note: str | None) -> None:
            if note is not None and selected == self.selected:
                await self._keep(lambda sae, feature: self._marks.note(sae, feature, note))

        title = f"Note on feature {selected.feature} of {self.session.title(selected.sae)}"
        self.app.push_screen(LineInput(title, self.mark.note), keep)

    async def _keep(self, write: Callable[[str, int], None]) -> None:
        """In a thread, as it waits for the disk; the next key waits for it, and nothing else does."""
        if (place := self.session.place(self.selected.sae)) is None:
            self.notify("this graft is no run yet, so that nothing can be kept of it", severity="warning")
            return
        try:
            await asyncio.to_thread(write, place, self.selected.feature)
        except OSError as error:
            self.notify(f"not kept: {self._marks.path}: {error.strerror}", severity="error")
        self.show_bar()

    def marks_changed(self) -> None:
        """Called by the app when another workbench wrote a note or a bookmark."""
        if self.is_running and self._marks.refresh():
            self.show_bar()

    # -- what the panes offer

    def action_prompt(self) -> None:
        self.action_pane(1)
        self.prompt.edit()

    def on_prompt_pane_probed(self) -> None:
        self.remember(prompt=self.prompt.prompt, beside=self.prompt.beside)

    def action_beside(self) -> None:
        self.prompt.toggle_beside()

    def action_lead(self) -> None:
        self.prompt.leading = not self.prompt.leading
        self.remember(leading=self.prompt.leading)
        self.notify("the panes follow the walk" if self.prompt.leading else "the panes stay where they are")

    def action_intervals(self) -> None:
        self.action_pane(2)
        self.contexts.toggle_intervals()

    def action_all_contexts(self) -> None:
        self.action_pane(2)
        self.contexts.toggle_all()

    def action_widen(self) -> None:
        self.action_pane(2)
        self.contexts.widen()

    def action_other_children(self) -> None:
        self.action_pane(4)
        self.children_pane.show_other_run()

    def action_split_report(self) -> None:
        self.action_pane(4)
        self.children_pane.open_report()

    def action_pair(self) -> None:
        from saetui.tui.screens.pair import PairScreen

        if len(visited := self.history.recent(2)) < 2:
            self.notify("select a second feature first, e.g. a child of this one: a pair takes two")
            return
        self.app.push_screen(PairScreen(self.session, visited[1], visited[0], self._symbols))

    def on_contexts_pane_known(self) -> None:
        self.show_bar()

    def on_children_pane_changed(self) -> None:
        self.show_hint()

    def action_cancel(self) -> None:
        """Escape undoes the nearest thing: what the engine was asked, the zoom, a crosshair, the writing of a
        prompt."""
        if any([pane.cancel() for pane in self.panes]):
            return
        if self.grid.zoomed:
            self.grid.zoomed = False
        elif not self.contexts.hide_crosshair():
            self.grid.active_pane.focus_main()

    async def action_copy(self) -> None:
        from saetui.tui.clipboard import copy

        if text := self.grid.active_pane.as_text():
            self.notify(await copy(self.app, text))
        else:
            self.notify("nothing to copy here yet")

    # -- panes

    def action_zoom(self) -> None:
        self.grid.zoomed = not self.grid.zoomed

    def action_next_pane(self) -> None:
        self.grid.go_to(self.grid.active + 1)

    def action_previous_pane(self) -> None:
        self.grid.go_to(self.grid.active - 1)

    def action_pane(self, number: int) -> None:
        self.grid.go_to(number)

    def on_pane_grid_changed(self) -> None:
        self.remember(pane=self.grid.active, zoomed=self.grid.zoomed)
        self.show_hint()

    # -- splitting

    def action_graft(self) -> None:
        self.splitting.graft(self.selected, self.contexts.known_for(self.selected))

    def action_graft_form(self) -> None:
        self.splitting.form(self.selected, self.contexts.known_for(self.selected), "graft")

    def action_split(self) -> None:
        self.splitting.form(self.selected, self.contexts.known_for(self.selected), "split")

    def take_up(self, chosen: Chosen) -> None:
        """Goes to a feature of the census, and does with it what was chosen there."""
        selected = Selected(NARROW, chosen.feature)
        self.select(selected)
        if chosen.what == "look":
            if chosen.recipe is not None:
                self.show_graft(chosen.recipe, keep=False)
        else:
            task = self.splitting.once_known(selected, chosen.what)
            self.run_worker(task, group="take-up", exclusive=True)

    def show_graft(self, recipe: GraftRecipe, keep: bool = True) -> None:
        self.action_pane(4)
        self.children_pane.graft(recipe, keep)

    def show_launched(self, run: Run) -> None:
        self.run_pane.watch_run(run)
        self.action_pane(5)

    # -- runs

    def runs_changed(self) -> None:
        """Called by the app when a run came, went on or ended."""
        if not self.is_running:
            return  # the app's queue outlives the screen's widgets
        self.run_pane.freshen()
        self.children_pane.runs_changed()
        self.query_one("#run-line", Static).update(run_line(self._watch))
        self.show_hint()

    def action_judge(self) -> None:
        """The run in hand: the one watched, else the one that has just ended, else the children's."""
        watched = self.run_pane.run if self.grid.active == self.run_pane.NUMBER else None
        run = watched or self.just_ended or self.children_pane.run or self.run_pane.run
        if run is None:
            self.notify("nothing to judge yet: g grafts this feature, s launches a split")
            return
        self.just_ended = None
        self.post_message(JudgeRequested(run))

    # -- lines

    def engine_changed(self) -> None:
        if not self.is_running:
            return  # the engine's notices go on while the screen is being taken down
        state = self.session.state
        line = self.query_one("#engine-line", Static)
        line.set_class(state.phase in (Phase.DIED, Phase.REFUSED), "-error")
        line.update(state.line)
        if state.phase is Phase.READY:
            self.remember(features=self.session.narrow_features)
            for pane in self.panes:
                pane.freshen()
        self.show_bar()
        self.show_hint()

    def show_bar(self) -> None:
        selected = self.selected
        line = feature_line(
            self.session,
            selected,
            self.contexts.known_for(selected),
            self.mark.bookmarked,
        )
        self.query_one("#feature-bar", Static).update(line)
        note = self.query_one("#note", Static)
        note.update(f"✎ {visible(self.mark.note)}")
        note.display = bool(self.mark.note)

    def show_hint(self) -> None:
        """The next step for someone who has not yet come to a verdict; nothing for everyone else."""
        hint = self.query_one("#hint", Static)
        if not self.state.hinted and self.children_pane.judged:
            self.remember(hinted=True)
        hint.display = not self.state.hinted
        if hint.display and hint.content != (
            step := first_steps(self.session, self.selected, self.children_pane, self.grid.active)
        ):
            hint.update(step)

    def remember(self, **values: Any) -> None:
        """Changes the remembered state and writes it down at once (a hang-up leaves no time for it)."""
        self.state = replace(self.state, **values)
        try:
            self._memory.save(self.state)
        except OSError as error:
            self.app.log.warning(f"state not saved: {error}")
