"""``saetui split``: train a wide SAE that splits a feature, in a background run."""

import shutil
import sys
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from saetui import embedded
from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json, say
from saetui.commands.recipe_options import build_recipe, chosen_values, recipe_options
from saetui.commands.target_threshold import lacks_threshold, with_threshold
from saetui.commands.watch import EXIT_CODES, watch
from saetui.runs.launcher import launch, survives_logout
from saetui.runs.status import status
from saetui.runs.store import create_run
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.defaults import fitted_recipe, needs_narrow
from saetui.split.judging.criteria import load_criteria
from saetui.split.recipe import SplitRecipe


@click.command()
@setup_options
@recipe_options(SplitRecipe)
@click.option("--criteria", type=click.Path(dir_okay=False, path_type=Path), help="criteria file to judge by")
@click.option("--note", default="", help="a line to remember the run by")
@click.option("--detach", is_flag=True, help="launch, print the run's id and return")
@json_option
def command(
    setup: Setup,
    recipe_file: Path | None,
    given: dict[str, Any],
    criteria: Path | None,
    note: str,
    detach: bool,
    as_json: bool,
) -> None:
    """Split FEATURE by training a wide SAE, in a run that outlives this terminal; follow it.

    Without FEATURE, the embedded world's target. Recipe defaults are the embedded world's, or else those
    shown; d_sae is 8 times the narrow SAE's unless it is given. Exit codes as those of watch: 0 finished,
    1 failed, 3 paused or stopped, 130 left.
    """
    if criteria:
        load_criteria(criteria)  # better refused now than after the training
    recipe = choose_recipe(setup, recipe_file, given)
    run = create_run(runs_root(), "split", setup, recipe, note)
    if criteria:
        shutil.copyfile(criteria, run.folder / "criteria.toml")
    say(f"{run.id}: {described(recipe)}")
    launch(run)
    if warning := survives_logout():
        say(warning)
    if not detach:
        sys.exit(EXIT_CODES[watch(run, as_json).state])
    if as_json:
        emit_json(status(run))
    else:
        click.echo(run.id)
        say(f"it goes on by itself: `saetui watch {run.id}` follows it")


def choose_recipe(setup: Setup, recipe_file: Path | None, given: dict[str, Any]) -> SplitRecipe:
    """The recipe, checked against the narrow SAE that it is for, with the threshold measured where nobody
    says it. UsageError where the target is not in it."""
    recipe = build_recipe(SplitRecipe, setup, recipe_file, given)
    if not needs_narrow(recipe):
        return recipe
    chosen = chosen_values(recipe_file, given)
    if setup.model in embedded.WORLDS and not setup.sae:  # no need to load torch first
        recipe = fitted_recipe(setup, chosen, embedded.world(setup.model).narrow_features)
        if not lacks_threshold(setup, recipe, chosen):
            return recipe
    from saetui.loading import load_lm, load_sae, open_rows

    narrow = load_sae(setup)
    recipe = fitted_recipe(setup, chosen, narrow.d_sae)
    if not lacks_threshold(setup, recipe, chosen):
        return recipe
    from saetui.features.row_store import RowStore

    lm = load_lm(setup)
    with closing(RowStore(lm, open_rows(setup, lm.tokenizer, "train"))) as store:
        return with_threshold(recipe, narrow.to(lm.device), store)


def described(recipe: SplitRecipe) -> str:
    """The axes and all that differs from the defaults, in one line."""
    always = ("target", "d_sae", "init", "data", "loss", "tokens")
    shown = [f for f in fields(recipe) if f.name in always or getattr(recipe, f.name) != f.default]
    return " · ".join(f"{f.name} {getattr(recipe, f.name)}" for f in shown)
