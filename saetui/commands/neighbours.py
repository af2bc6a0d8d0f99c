"""``saetui neighbours``: features whose decoder rows point the same way."""

import click

from saetui.commands.encoders import open_encoder, open_model, open_other, run_option
from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json
from saetui.setup import Setup


@click.command()
@click.argument("feature", type=int)
@setup_options
@run_option
@click.option("--in", "within", metavar="SAE", help="look in this one: folder, file, hub path or run")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="how many")
@json_option
def command(feature: int, setup: Setup, run: str | None, within: str | None, top: int, as_json: bool) -> None:
    """The features closest to FEATURE by decoder cosine, in its own SAE or in another one."""
    from saetui.features.neighbours import neighbours

    lm = open_model(setup)
    opened = open_encoder(setup, lm, run)
    other = open_other(lm, within) if within else opened
    found = neighbours(
        opened.encoder, feature, within=other.encoder, top=top, name=opened.name, within_name=other.name
    )
    if as_json:
        emit_json(found)
        return
    click.echo(f"closest to feature {feature} of {opened.name}, in {other.name}")
    click.echo("feature  cosine")
    for one in found:
        click.echo(f"{one.feature:>7}  {one.cosine:>6.3f}")
