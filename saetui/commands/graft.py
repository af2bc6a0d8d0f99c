"""``saetui graft``: split a feature in place, in seconds."""

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json, say
from saetui.commands.reading import Reading
from saetui.commands.recipe_options import build_recipe, chosen_values, recipe_options
from saetui.commands.target_threshold import lacks_threshold, with_threshold
from saetui.features.results import Child
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.defaults import split_limits
from saetui.split.recipe import GraftRecipe
from saetui.visible import visible

if TYPE_CHECKING:
    from saetui.split.finding.report import SplitReport
    from saetui.split.grafting.graft_run import GraftReport

CHILD_TOKENS = 100_000
"""Held-out tokens on which the children are counted and their contexts found."""


@dataclass(frozen=True)
class GraftOutput:
    """What ``--json`` prints; ``run`` is empty with ``--no-save``."""

    run: str
    recipe: dict[str, Any]
    report: dict[str, Any]
    children: list[Child]


@click.command()
@setup_options
@recipe_options(GraftRecipe)
@click.option("--save/--no-save", default=True, help="keep the graft as a run  [default: save]")
@click.option("--show", default=12, show_default=True, help="children to list")
@click.option("--note", default="", help="a line to remember the run by")
@json_option
def command(
    setup: Setup,
    recipe_file: Path | None,
    given: dict[str, Any],
    save: bool,
    show: int,
    note: str,
    as_json: bool,
) -> None:
    """Split FEATURE in place: children in its place, the rest of the narrow SAE as it was.

    Without FEATURE, the embedded world's target. Lists the children, largest share of the target first, with
    what they fire on and the tokens that they boost.
    """
    recipe = build_recipe(GraftRecipe, setup, recipe_file, given)
    run, recipe, report, found = _graft(setup, recipe, chosen_values(recipe_file, given), save, note)
    children = found.children
    if as_json:
        emit_json(GraftOutput(run, recipe.to_dict(), asdict(report), children))
        return
    click.echo(
        f"{report.hot_tokens:,} hot tokens in {report.tokens_read:,} read ({report.gather_seconds:.1f} s), "
        f"trained in {report.seconds:.1f} s"
    )
    click.echo(
        f"squared error on held-out hot tokens {report.error_before:.1f} → {report.error_after:.1f}, "
        f"{report.l0:.1f} children a token, one at least on {report.covered:.0%}"
    )
    for child in children[:show]:
        click.echo("")
        for line in child_lines(child):
            click.echo(line)
    if len(children) > show:
        click.echo(f"\n… and {len(children) - show} more: --show {len(children)} lists them all")
    if run:
        say(f"kept as {run}: `saetui judge {run}` judges it")


def child_lines(child: Child) -> list[str]:
    """A child as lines of text: its share, the tokens that it boosts, and its top contexts."""
    boosted = "  ".join(visible(logit.token, dots=True) for logit in child.boosted[:8])
    lines = [f"{child.feature}  {child.share:5.1%} of the target's tokens   boosts {boosted}"]
    for context in child.contexts[:4]:
        before, after = (
            visible("".join(part))
            for part in (context.tokens[: context.center], context.tokens[context.center + 1 :])
        )
        token = visible(context.tokens[context.center])
        lines.append(f"  {context.activation:7.2f}  {before:>30}«{token}»{after}")
    return lines


def _graft(
    setup: Setup, recipe: GraftRecipe, chosen: dict[str, Any], save: bool, note: str
) -> "tuple[str, GraftRecipe, GraftReport, SplitReport]":
    from saetui.features.row_store import RowStore
    from saetui.loading import check_fit, load_lm, load_sae, open_rows
    from saetui.runs.own import own_run
    from saetui.split.finding.children import split_report
    from saetui.split.grafting.graft_run import graft_target, record
    from saetui.split.training.loss import check_target

    narrow = load_sae(setup)
    check_target(narrow, recipe.target)
    lm = load_lm(setup)
    for warning in check_fit(lm, narrow):
        say(warning)
    narrow = narrow.to(lm.device)
    # What `saetui contexts` or the workbench have read of the corpus is read again from the disk.
    reading = Reading()
    rows = open_rows(setup, lm.tokenizer, "train", lambda share, line: reading.say(line))
    with closing(RowStore(lm, rows)) as store:
        if lacks_threshold(setup, recipe, chosen):
            recipe = with_threshold(recipe, narrow, store)
        say(f"grafting {recipe.children} children onto feature {recipe.target} …")

        def on_gather(found: int, read: int) -> None:
            reading.say(f"reading the corpus: {found:,} hot tokens in {read:,}")

        if save:
            with own_run(runs_root(), setup, recipe, note) as context:
                graft, report = record(context, setup, recipe, lm, narrow, store, on_gather)
            run = context.run.id
        else:
            run = ""
            graft, report = graft_target(lm, narrow, store.rows, recipe, on_gather, store=store)
        reading.end()
    found = split_report(
        lm,
        graft,
        narrow,
        recipe.target,
        recipe.threshold,
        open_rows(setup, lm.tokenizer, "eval"),
        candidates=graft.children,
        tokens=CHILD_TOKENS,
        limits=split_limits(),
    )
    return run, recipe, report, found
