"""``saetui compare``: which children two runs of one target share."""

import click

from saetui.commands.options import comparison_options, json_option
from saetui.commands.output import emit_json, say
from saetui.reports.comparison import COST_NOTE, boosted, cost_lines, target_line
from saetui.settings import runs_root
from saetui.split.comparison import ComparedRun, Comparison, Match
from saetui.split.defaults import split_limits
from saetui.split.finding.report import SplitThresholds


@click.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@click.option(
    "--recall",
    type=click.FloatRange(0, 1),
    help=f"a child fires on at least this share of the target's tokens  [default: {SplitThresholds.recall}, "
    "or the settings']",
)
@comparison_options
@json_option
def command(
    first: str, second: str, tokens: int, recall: float | None, agreement: float, as_json: bool
) -> None:
    """Which children of the first RUN are which of the second, which only one found, and at what cost.

    Both split the same target: a graft and a wide SAE, two seeds, or two recipes. Children are matched one to
    one by their activations on held-out tokens of the target.
    """
    from saetui.runs.store import find_run
    from saetui.split.compare import compare_runs

    runs = [find_run(runs_root(), name) for name in (first, second)]
    say(f"reading {tokens:,} held-out tokens …")
    limits = split_limits({} if recall is None else {"recall": recall})
    found = compare_runs(runs[0], runs[1], tokens=tokens, limits=limits, agreement=agreement)
    if as_json:
        emit_json(found)
        return
    for line in report(found):
        click.echo(line)


def report(found: Comparison) -> list[str]:
    """The comparison as lines of text."""
    first, second = found.first, found.second
    lines = [target_line(found), "", *cost_lines(found), COST_NOTE]
    lines += ["", f"{len(found.matches)} children are found by both"]
    if found.matches:
        lines.append(f"{'first':>8} {'second':>7} {'cosine':>7} {'agreement':>9}  {'shares':>13}  boosts")
    ours = {c.feature: c for c in first.children}
    theirs = {c.feature: c for c in second.children}
    for match in found.matches:
        a, b = ours[match.first], theirs[match.second]
        lines.append(f"{_numbers(match)}  {a.share:>5.1%} / {b.share:>5.1%}  {boosted(a)}")
    for side, other, own in ((first, second, "first"), (second, first, "second")):
        lines += ["", f"{len(side.only)} only in {side.run}"]
        lines += _only(found, side, other, own == "first")
    return lines


def _only(found: Comparison, side: ComparedRun, other: ComparedRun, is_first: bool) -> list[str]:
    children = {child.feature: child for child in side.children}
    lines: list[str] = []
    for feature in side.only:
        child = children[feature]
        lines.append(f"{feature:>8}  {child.share:>5.1%}  {boosted(child)}")
        if match := found.nearest_to(feature, of_first=is_first):
            nearest = match.second if is_first else match.first
            lines.append(
                f"{'':16}nearest {nearest} of {other.run}: cosine {match.cosine:.2f}, "
                f"agreement {match.agreement:.2f}"
            )
    return lines


def _numbers(match: Match) -> str:
    return f"{match.first:>8} {match.second:>7} {match.cosine:>7.2f} {match.agreement:>9.2f}"
