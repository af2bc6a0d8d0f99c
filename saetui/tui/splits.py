"""Splitting the selected feature: the recipe to begin with, and the run that carries it out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from saetui.errors import UsageError
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW, Session

if TYPE_CHECKING:
    from saetui.features.results import Contexts
    from saetui.runs.store import Run
    from saetui.setup import Setup
    from saetui.split.recipe import SplitRecipe

Kind = Literal["graft", "split"]


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
