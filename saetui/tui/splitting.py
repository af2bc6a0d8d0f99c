"""From a feature to its children: a graft at once, or either method by its form; runs are started here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from textual.screen import Screen

from saetui.errors import UsageError, UserError
from saetui.tui.run_watch import RunWatch
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW, Session

if TYPE_CHECKING:
    from saetui.features.results import Contexts
    from saetui.runs.store import Run
    from saetui.setup import Setup
    from saetui.split.recipe import GraftRecipe, SplitRecipe

Kind = Literal["graft", "split"]


class Splitting:
    """What ``screen`` does to split a feature. What cannot be done is said there, in one line.

    ``known`` is what the engine has said of the feature's contexts, if it has: the threshold follows from how
    strongly it fires.
    """

    def __init__(
        self,
        screen: Screen[Any],
        session: Session,
        watch: RunWatch,
        graft: Callable[[GraftRecipe], None],
        launched: Callable[[Run], None],
    ) -> None:
        """``graft`` carries a graft's recipe out; ``launched`` is told of a run that has been started."""
        self._screen, self._session, self._watch = screen, session, watch
        self._graft, self._launched = graft, launched

    def graft(self, selected: Selected, known: Contexts | None) -> None:
        """At once, by the recipe to begin with."""
        if recipes := self._recipes(selected, known, "graft"):
            self._graft(recipes[0])

    def form(self, selected: Selected, known: Contexts | None, kind: Kind) -> None:
        """The recipe is filled in first."""
        if recipes := self._recipes(selected, known, kind):
            self._fill_in(recipes, kind)

    async def once_known(self, selected: Selected, kind: Kind) -> None:
        """A graft, or the form of a split, once it is known how strongly the feature fires."""
        try:
            known = await self._session.contexts(selected)
        except UserError as error:
            self._screen.notify(str(error), severity="warning")
        else:
            (self.graft if kind == "graft" else partial(self.form, kind=kind))(selected, known)

    def _recipes(self, selected: Selected, known: Contexts | None, kind: Kind) -> tuple[Any, Any] | None:
        try:
            return first_recipes(self._session, selected, known, kind)
        except UserError as error:
            self._screen.notify(str(error), severity="warning")
            return None

    def _fill_in(self, recipes: tuple[Any, Any], kind: Kind) -> None:
        from saetui.tui.screens.launch import LaunchScreen

        def filled_in(recipe: Any) -> None:
            if recipe is None:
                return
            if kind == "graft":
                self._graft(recipe)
            else:
                self._screen.run_worker(self._launch(recipe), group="launch", exclusive=True)

        pace = partial(self._watch.pace, self._session.made)
        self._screen.app.push_screen(LaunchScreen(self._session, *recipes, pace), filled_in)

    async def _launch(self, recipe: SplitRecipe) -> None:
        try:
            run = await asyncio.to_thread(start_run, self._session.setup, recipe)
        except UserError as error:
            self._screen.notify(str(error), severity="error", timeout=15)
        else:
            self._launched(run)


def first_recipes(
    session: Session, selected: Selected, known: Contexts | None, kind: Kind
) -> tuple[Any, Any]:
    """The recipe to begin with, with a threshold that fits the feature where its contexts are ``known``, and
    what the command would take by itself. UserError for a feature that cannot be split."""
    if selected.sae != NARROW:
        raise UsageError(f"a {kind} is of a feature of the narrow SAE: t goes back to it")
    make = session.split_recipe if kind == "split" else session.graft_recipe
    recipe = make(selected.feature)
    threshold = session.threshold(selected.feature, known.max_activation if known else None)
    return recipe if threshold is None else replace(recipe, threshold=threshold), recipe


def start_run(setup: Setup, recipe: SplitRecipe) -> Run:
    """A detached run of ``recipe``. UserError where it cannot be started."""
    from saetui.runs.launcher import launch
    from saetui.runs.store import create_run
    from saetui.settings import runs_root

    run = create_run(runs_root(), "split", setup, recipe)
    launch(run)
    return run
