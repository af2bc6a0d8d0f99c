"""``saetui find``: features by what they fire on, by what they boost, or by number."""

import click

from saetui.commands.encoders import open_encoder, open_model, run_option
from saetui.commands.indexing import build_index
from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json, say
from saetui.features.results import Findings, FoundBy
from saetui.reports.found_text import why
from saetui.setup import Setup


@click.command()
@click.argument("text", metavar="WORD")
@setup_options
@run_option
@click.option("--by", type=click.Choice(["number", "token", "boosted"]), help="one kind only")
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="features of each kind")
@click.option("--tokens", type=click.IntRange(1), default=1_000_000, show_default=True, help="tokens to read")
@json_option
def command(
    text: str, setup: Setup, run: str | None, by: FoundBy | None, top: int, tokens: int, as_json: bool
) -> None:
    """Features that WORD means: those that fire on it and those that boost it, each with the reason.

    A feature fires on WORD where its top-activating tokens are it or, listed after these, begin with it; it
    boosts WORD where that is among its 20 most boosted tokens. Capital letters and the spaces around a token
    do not count.
    """
    from saetui.features.find import find
    from saetui.features.lens_table import LensTable

    lm = open_model(setup)
    opened = open_encoder(setup, lm, run)
    index = build_index(setup, lm, opened, tokens if by in (None, "token") else 0)
    table = LensTable(lm, opened.encoder)
    while by in (None, "boosted") and not table.complete:
        table.advance()
    found = find(index, table, text, by, top)
    if as_json:
        emit_json(found)
        return
    if found.note:
        say(found.note)
    for line in report(found):
        click.echo(line)


def report(found: Findings) -> list[str]:
    """A line a feature: number, density, largest activation, and why."""
    if not found.found:
        return [f"no feature of {found.sae} fires on {found.query!r} or boosts it"]
    return [f"{'feature':>8} {'density':>8} {'max':>7}  why"] + [
        f"{one.feature:>8} {one.density:>8.3%} {one.max_activation:>7.2f}  {why(one)}" for one in found.found
    ]
