"""``saetui census``: which features hide several contexts, measured, or expected before any training."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from saetui.census.defaults import census_recipe
from saetui.census.results import (
    Agreement,
    Census,
    CensusProgress,
    CensusRecipe,
    Evidence,
    FeatureCensus,
    Hits,
)
from saetui.commands.live_line import LiveLine
from saetui.commands.options import setup_options
from saetui.commands.output import emit_json, print_table, say
from saetui.errors import UsageError
from saetui.line_pace import LinePace
from saetui.quantities import duration
from saetui.record_text import csv_text
from saetui.reports import markdown
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.studies.store import find_study
from saetui.visible import visible

if TYPE_CHECKING:
    from saetui.features.index import FeatureIndex
    from saetui.sae.sae import SAE
    from saetui.studies.expected import StudyAgreement


@click.command()
@setup_options
@click.option(
    "--tokens",
    type=click.IntRange(1000),
    default=CensusRecipe.tokens,
    show_default=True,
    help="tokens to read, the last quarter of them held out",
)
@click.option("--before", is_flag=True, help="only what is expected before any training: which to split next")
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="features to list")
@click.option(
    "--study",
    "names",
    multiple=True,
    metavar="STUDY",
    help="hold the rank against what STUDY made of its targets; repeatable",
)
@click.option("--json", "form", flag_value="json", help="print JSON on stdout")
@click.option("--csv", "form", flag_value="csv", help="print a line per feature as CSV")
@click.option("--markdown", "form", flag_value="markdown", help="print how well the rank did as Markdown")
def command(
    setup: Setup, tokens: int, before: bool, top: int, names: tuple[str, ...], form: str | None
) -> None:
    """Which features of the narrow SAE hide several contexts.

    Every feature is grafted, and its children are measured on held-out text: what tells them apart beyond the
    token that they fire on? An interrupted census goes on where it was. --before ranks the features by what
    their tokens say without any training; how well that foretells the census, and a study, is said after it.
    """
    from saetui.census.census import rank, take_census
    from saetui.studies.expected import study_agreement

    if before and (names or form == "markdown"):
        raise UsageError("--before has nothing yet to hold the rank against: leave it out")
    studies = [find_study(runs_root(), name) for name in names]
    recipe = census_recipe(setup, tokens)
    narrow, index = open_index(setup, recipe)
    progress = _Progress()
    try:
        if before:
            evidence = rank(narrow, index, recipe, progress)
            progress.end()
            _print_rank(evidence, top, form)
        else:
            census = take_census(narrow, index, recipe, progress)
            progress.end()
            against = [study_agreement(study, setup, census.evidence) for study in studies]
            _print_census(census, against, top, form)
    finally:
        index.close()
        index.store.close()


def census_lines(census: Census, top: int) -> list[str]:
    """The census as a table of at most 80 columns, and how well the rank before it did."""
    grafted = [one for one in census.features if one.children]
    expected = {one.feature: place for place, one in enumerate(census.evidence, 1)}
    by = {kind: sum(one.split_by == kind for one in grafted) for kind in ("context", "token", "neither")}
    rare = len(census.features) - len(grafted)
    return [
        f"{len(grafted)} features grafted on {census.tokens_read:,} tokens, {rare} too rare",
        f"children told apart by context: {by['context']}, by the token: {by['token']}, "
        f"by neither: {by['neither']}",
        "",
        "feature      hot   k  hold  explained  effective  margin  token  context  before",
        *(_line(one, expected[one.feature]) for one in grafted[:top]),
        "",
        "hot: share of tokens above the feature's threshold, on which a split trains;",
        "k: children chosen by held-out gain; token, context: nats that they tell of the",
        "child, context (‹ previous, › next token) beyond the token; before: the rank",
        "before any training",
        *agreement_lines(census.agreement),
    ]


def agreement_lines(agreement: list[Agreement]) -> list[str]:
    """How well the rank predicted the census, and each other number of the evidence."""
    if not agreement:
        return []
    rank, *others = agreement
    said = (
        f"expected against measured: Spearman {rank.rho:.2f} ({rank.low:.2f} … {rank.high:.2f}), "
        f"p {rank.p_value:.2g}, {rank.features} features",
        f"expected first and measured among the first: {hit_words(rank.precision)}",
        f"of the {rank.split[0].wanted} split by context: {hit_words(rank.split)}",
        "other evidence alone: " + ", ".join(f"{one.by} {one.rho:+.2f}" for one in others),
    )
    return ["", *(line for text in said for line in wrap(text, 80))]


def hit_words(hits: Sequence[Hits]) -> str:
    """``4 of 5 (0.4 by chance), …``"""
    return ", ".join(f"{one.found} of {one.at} ({one.at * one.by_chance:.1f} by chance)" for one in hits)


def rank_lines(evidence: list[Evidence], top: int) -> list[str]:
    """Which feature to split next, a line each with its reasons."""
    lines = ["feature  context share of its error, and what else is known of it"]
    for one in evidence[:top]:
        lines.append(f"{one.feature:>7}  {one.context_share:>5.1%} told by the {one.side} token")
        lines += [" " * 9 + reason for reason in _reasons(one)]
    return lines


def _reasons(one: Evidence) -> list[str]:
    token = visible(one.commonest, dots=True)
    return [
        f"above {one.threshold:.2g}: {one.density:.2%}, {one.commonest_share:.0%} of it «{token}»; leaves "
        f"{one.unexplained:.0%} unexplained",
        f"nearest feature {one.nearest} at {one.nearest_cosine:.2f}; bimodality {one.bimodality:.2f}",
    ]


def _line(one: FeatureCensus, expected: int) -> str:
    side = {"previous": "‹", "next": "›"}[one.side] if one.by_context else " "
    return (
        f"{one.feature:>7}  {one.density:>7.2%}  {one.children:>2}  {one.holding:>4}  {one.gain:>9.0%}  "
        f"{one.effective:>9.1f}  {one.margin:>6.2f}  {one.by_token:>5.2f}  {one.by_context:>6.2f}{side}"
        f" {expected:>6}"
    )


def _print_census(census: Census, studies: "list[StudyAgreement]", top: int, form: str | None) -> None:
    from saetui.reports.census import census_tables, study_table

    if form == "json":
        features = [_record(one, census) for one in census.features]
        emit_json({**asdict(census), "features": features, "studies": studies})
    elif form == "markdown":
        click.echo("\n\n".join(markdown.table(table) for table in census_tables(census, studies)))
    elif form == "csv":
        click.echo(csv_text([_record(one, census) for one in census.features]), nl=False)
    else:
        for line in census_lines(census, top):
            click.echo(line)
        for study in studies:
            click.echo()
            print_table(study_table(study))


def _print_rank(evidence: list[Evidence], top: int, form: str | None) -> None:
    if form == "json":
        emit_json(evidence)
    elif form == "csv":
        click.echo(csv_text([asdict(one) for one in evidence]), nl=False)
    else:
        for line in rank_lines(evidence, top):
            click.echo(line)


def _record(one: FeatureCensus, census: Census) -> dict[str, Any]:
    """One feature with what follows from its numbers; the shares explained under their number of children."""
    record = asdict(one)
    explained = record.pop("explained") or [None] * len(census.recipe["children"])
    record |= {f"explained_{k}": share for k, share in zip(census.recipe["children"], explained, strict=True)}
    derived = ("effective", "by_context", "contexts", "side", "split_by")
    return record | {name: getattr(one, name) for name in derived}


def open_index(setup: Setup, recipe: CensusRecipe) -> "tuple[SAE, FeatureIndex]":
    """The narrow SAE and its index, read as far as the recipe says."""
    from saetui.commands.reading import Reading
    from saetui.features.index import FeatureIndex
    from saetui.features.row_store import RowStore
    from saetui.loading import check_fit, load_lm, load_sae, open_rows

    lm, narrow = load_lm(setup), load_sae(setup)
    for warning in check_fit(lm, narrow):
        say(warning)
    narrow = narrow.to(lm.device)
    reading = Reading()
    store = RowStore(lm, open_rows(setup, lm.tokenizer, "train", lambda share, line: reading.say(line)))
    index = FeatureIndex(store, narrow)
    index.build(recipe.tokens, reading)
    reading.end()
    if store.warning:
        say(store.warning)
    return narrow, index


class _Progress:
    """Says on stderr what is being done and when it ends."""

    def __init__(self) -> None:
        self._line, self._pace = LiveLine(sys.stderr), LinePace()

    def __call__(self, now: CensusProgress) -> None:
        what = "tokens" if now.stage == "sampling" else "features"
        line = f"{now.stage}: {now.done:,} of {now.total:,} {what}"
        if now.eta_s is not None:
            line += f", {duration(now.eta_s)} to go"
        if self._line.live:
            self._line.draw(line)
        elif self._pace.due():
            self._line.say(line)

    def end(self) -> None:
        self._line.draw("")
