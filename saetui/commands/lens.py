"""``saetui lens``: which next tokens a feature speaks for and against."""

import click

from saetui.commands.encoders import open_encoder, open_model, run_option
from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json
from saetui.features.results import Lens, TokenLogit
from saetui.setup import Setup
from saetui.visible import pad, visible

_TOKEN = 20


@click.command()
@click.argument("feature", type=int)
@setup_options
@run_option
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="tokens on each side")
@json_option
def command(feature: int, setup: Setup, run: str | None, top: int, as_json: bool) -> None:
    """The logits that FEATURE's decoder row boosts and suppresses most: W_dec[f] @ W_U, mean taken off."""
    from saetui.features.lens import lens

    lm = open_model(setup)
    opened = open_encoder(setup, lm, run)
    found = lens(lm, opened.encoder, feature, top, opened.name)
    if as_json:
        emit_json(found)
        return
    for line in table(found):
        click.echo(line)


def table(found: Lens) -> list[str]:
    """Boosted and suppressed tokens side by side; a space in a token shows as ``·``."""
    lines = [f"feature {found.feature} of {found.sae}", f"{'boosted':<{_TOKEN + 8}}    suppressed"]
    pairs = zip(found.boosted, found.suppressed, strict=True)
    return lines + [f"{_cell(up)}    {_cell(down)}".rstrip() for up, down in pairs]


def _cell(one: TokenLogit) -> str:
    return f"{pad(visible(one.token, dots=True), _TOKEN)} {one.logit:>7.3f}"
