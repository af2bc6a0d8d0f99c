"""``saetui pair``: two features side by side."""

import shutil

import click

from saetui.commands.concordance import concordance
from saetui.commands.encoders import open_encoder, open_model, open_other, run_option
from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json, say
from saetui.features.results import Pair, PairContext
from saetui.setup import Setup

SCATTER_HEIGHT = 16


@click.command()
@click.argument("first", type=int)
@click.argument("second", type=int)
@setup_options
@run_option
@click.option("--of", "of", metavar="SAE", help="FIRST is of this one  [default: the narrow SAE]")
@click.option("--in", "within", metavar="SAE", help="SECOND is of this one  [default: the run's, or FIRST's]")
@click.option("--tokens", type=click.IntRange(1), default=200_000, show_default=True, help="tokens to read")
@click.option("--top", type=click.IntRange(0), default=8, show_default=True, help="lines in each list")
@json_option
def command(
    first: int,
    second: int,
    setup: Setup,
    run: str | None,
    of: str | None,
    within: str | None,
    tokens: int,
    top: int,
    as_json: bool,
) -> None:
    """The features FIRST and SECOND on the same held-out tokens: how alike they are, a scatter of their
    activations, the tokens that each fires on most, and what only one of them has.

    SAEs are named by folder, file, hub path or run. With --run, FIRST is the narrow SAE's (a target) and
    SECOND is of what the run ended with (a child).
    """
    from saetui.features.encoder import check_feature
    from saetui.features.pair import Feature, pair
    from saetui.loading import open_rows

    lm = open_model(setup)
    one = open_other(lm, of) if of else open_encoder(setup, lm)
    named = within or run
    other = open_other(lm, named) if named else one
    check_feature(one.encoder, first, one.name)
    check_feature(other.encoder, second, other.name)
    say(f"reading {tokens:,} held-out tokens …")
    found = pair(
        lm,
        Feature(one.encoder, first, one.name),
        Feature(other.encoder, second, other.name),
        open_rows(setup, lm.tokenizer, "eval"),
        tokens=tokens,
        contexts=top,
    )
    if as_json:
        emit_json(found)
        return
    for line in report(found, shutil.get_terminal_size((80, 24)).columns):
        click.echo(line)


def report(found: Pair, width: int) -> list[str]:
    """The pair as lines of at most ``width`` cells."""
    sides = (("first", found.first), ("second", found.second))
    lines = [f"{'':8}{'feature':>8} {'density':>9} {'max':>7} {'shared':>7} {'masked cos':>11}  of"]
    for name, side in sides:
        line = f"{name:<8}{side.feature:>8} {side.density:>9.4%} {side.max_activation:>7.2f}"
        lines.append(f"{line} {side.covered:>7.1%} {side.masked_cosine:>11.3f}  {side.sae}"[:width])
    alike = f"decoder cosine {found.cosine:.3f} · Jaccard {found.jaccard:.3f}"
    lines.append(alike + ("" if found.correlation is None else f" · correlation {found.correlation:.3f}"))
    lines.append(f"both fire on {found.both:,} of {found.tokens_read:,} held-out tokens")
    lines += ["", *_scatter(found, width)]
    for title, contexts in (
        ("strongest of the first", found.by_first),
        ("strongest of the second", found.by_second),
        ("only the first", found.only_first),
        ("only the second", found.only_second),
    ):
        lines += ["", title, *(_table(contexts, width) if contexts else ["  nothing"])]
    return lines


def _scatter(found: Pair, width: int) -> list[str]:
    from saetui.tui.widgets.scatter import Points, draw_scatter

    x, y = zip(*found.points, strict=True) if found.points else ((), ())
    title = f"{found.second.feature} (up) against {found.first.feature}"
    name = f"activation of {found.first.feature}"
    grid = draw_scatter([Points("a token", x, y)], min(width, 100), SCATTER_HEIGHT, title, name)
    return [line.rstrip() for line in grid.plain().splitlines()]


def _table(contexts: list[PairContext], width: int) -> list[str]:
    labelled = [
        (f"{c.first[c.center]:>7.2f} {c.second[c.center]:>7.2f}", c.tokens, c.center) for c in contexts
    ]
    return concordance(labelled, width)
