"""The workbench's main screen: five panes that all follow one selected feature."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from saetui.feature_marks import FeatureMarks
from saetui.tui.actions import bindings
from saetui.tui.connection import Phase
from saetui.tui.key_line import KeyLine
from saetui.tui.marking import Marking
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
from saetui.tui.selecting import Selecting
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW, Session
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
        self.state: State = memory.load()
        if session.narrow_features is None:
            session.narrow_features = self.state.features
        self.selecting = Selecting(self, session, marks, self._follow)
        self.marking = Marking(self, session, marks, lambda: self.selected, self.show_bar)
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
        return self.selecting.selected

    def select(self, selected: Selected) -> None:
        """Makes ``selected`` the feature that every pane follows."""
        self.selecting.select(selected)

    def _follow(self, passing: bool) -> None:
        """Has every pane follow the selected feature. Of one that is only walked over, nothing is opened or
        found anew: the children stay those of the feature before."""
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
        self.selecting.select(message.selected, message.passing)

    def action_back(self) -> None:
        self.selecting.step(-1)

    def action_forward(self) -> None:
        self.selecting.step(1)

    def action_next_feature(self) -> None:
        self.selecting.neighbouring(1)

    def action_previous_feature(self) -> None:
        self.selecting.neighbouring(-1)

    def action_target(self) -> None:
        self.selecting.target()

    def action_find(self) -> None:
        self.selecting.find()

    async def action_bookmark(self) -> None:
        await self.marking.bookmark()

    def action_note_feature(self) -> None:
        self.marking.note()

    def marks_changed(self) -> None:
        """Called by the app when another workbench wrote a note or a bookmark."""
        if self.is_running:
            self.show_bar()

    @property
    def export_stem(self) -> str:
        return f"{self.session.title(self.selected.sae)}-{self.selected.feature}"

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

    def action_compare_runs(self) -> None:
        from saetui.tui.screens.compare import CompareScreen

        self.action_pane(4)
        if runs := self.children_pane.comparable():
            self.app.push_screen(CompareScreen(self.session, *runs), self.selecting.go)

    def action_pair(self) -> None:
        from saetui.tui.screens.pair import PairScreen

        if len(visited := self.selecting.history.recent(2)) < 2:
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
        if (run := self.run_looked_at()) is not None:
            self.post_message(JudgeRequested(run))
        elif self.grid.active == self.run_pane.NUMBER:
            self.notify("no run of this model and SAE yet: g grafts this feature, s launches a split")
        else:
            feature = self.selected.feature
            self.notify(f"no finished run of feature {feature} to judge: g grafts it, s launches a split")

    def run_looked_at(self) -> Run | None:
        """The run of the pane with the focus, where that shows one; else the run that the selected feature is
        of, or the one that split it: never one that is about anything else."""
        if self.grid.active == self.run_pane.NUMBER:
            return self.run_pane.run
        selected, children = self.selected, self.children_pane
        if self.grid.active == children.NUMBER and children.run:
            return children.run
        if selected.sae != NARROW:
            return self._watch.run(self.session.place(selected.sae))
        if children.run and children.parent_feature == selected.feature:
            return children.run
        newest = self._watch.finished(self.session.made, selected.feature)
        return newest[0].run if newest else None

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
            self.marking.mark.bookmarked,
        )
        self.query_one("#feature-bar", Static).update(line)
        note = self.query_one("#note", Static)
        note.update(f"✎ {visible(self.marking.mark.note)}")
        note.display = bool(self.marking.mark.note)

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
        """Changes the remembered state and has it written down."""
        before, self.state = self.state, replace(self.state, **values)
        if self.state != before:
            self._memory.save_later(self.state)
