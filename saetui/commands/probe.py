"""``saetui probe``: what fires on every token of a prompt."""

import click

from saetui.commands.encoders import open_encoder, open_model, open_other, run_option
from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json
from saetui.errors import UsageError
from saetui.features.results import PromptProbe, TokenProbe
from saetui.setup import Setup
from saetui.visible import pad, visible

_TOKEN = 12
"""Cells of the token column."""


@click.command()
@click.argument("prompts", nargs=-1, metavar="[PROMPT]…")
@setup_options
@run_option
@click.option("--compare", metavar="SAE", help="a second SAE beside it: folder, file, hub path or run")
@click.option("--top", type=click.IntRange(1), help="features a token  [default: 4, or 2 with --compare]")
@click.option("--follow", type=int, multiple=True, metavar="FEATURE", help="always show this feature too")
@json_option
def command(
    prompts: tuple[str, ...],
    setup: Setup,
    run: str | None,
    compare: str | None,
    top: int | None,
    follow: tuple[int, ...],
    as_json: bool,
) -> None:
    """The strongest features on every token of each PROMPT (an embedded world has prompts of its own).

    L0 is the number of features that fire; the margin is 1 - a2/a1 of the two strongest: 1 where the first
    stands alone.
    """
    from saetui.features.probe import probe

    prompts = prompts or _prompts_of(setup)
    lm = open_model(setup)
    encoders = [open_encoder(setup, lm, run), *([open_other(lm, compare)] if compare else [])]
    found = [
        [
            # Features are followed in the first encoder: the second one numbers its own.
            probe(lm, one.encoder, prompt, top or 4 // len(encoders), follow if i == 0 else (), one.name)
            for i, one in enumerate(encoders)
        ]
        for prompt in prompts
    ]
    if as_json:
        emit_json([one for probes in found for one in probes])
        return
    for i, probes in enumerate(found):
        if i:
            click.echo()
        for line in table(probes):
            click.echo(line)


def table(probes: list[PromptProbe]) -> list[str]:
    """The tokens of one prompt, a line each, with what fires on them in each of the encoders."""
    widths = [max(len(_features(token)) for token in one.tokens) for one in probes]
    sides = [f"{'L0':>4} {'margin':>6}  {'feature: activation':<{w}}".rstrip() for w in widths]
    widths = [max(w, len(side)) for w, side in zip((15 + w for w in widths), sides, strict=True)]
    lines = [visible(probes[0].prompt)]
    if len(probes) > 1:
        names = " │ ".join(pad(one.sae, w) for one, w in zip(probes, widths, strict=True))
        lines.append(f"{'':{_TOKEN + 4}} {names}".rstrip())
    head = " │ ".join(f"{side:<{w}}" for side, w in zip(sides, widths, strict=True))
    lines.append(f"{'':>3} {'token':<{_TOKEN}} {head}".rstrip())
    for tokens in zip(*(one.tokens for one in probes), strict=True):
        cells = " │ ".join(pad(_cell(token), w) for token, w in zip(tokens, widths, strict=True))
        name = pad(visible(tokens[0].text, dots=True), _TOKEN)
        lines.append(f"{tokens[0].position:>3} {name} {cells}".rstrip())
    return lines


def _cell(token: TokenProbe) -> str:
    if token.bos:
        return f"{token.l0:>4}         as in every prompt"
    margin = "" if token.margin is None else f"{token.margin:.2f}"
    return f"{token.l0:>4} {margin:>6}  {_features(token)}"


def _features(token: TokenProbe) -> str:
    if token.bos:
        return ""
    shown = [f"{a.feature:>4}: {a.activation:5.2f}" for a in token.top]
    strongest = {a.feature for a in token.top}
    shown += [f"[{a.feature}: {a.activation:.2f}]" for a in token.followed if a.feature not in strongest]
    return "  ".join(shown)


def _prompts_of(setup: Setup) -> tuple[str, ...]:
    from saetui import embedded

    if setup.model not in embedded.WORLDS:
        raise UsageError("no prompt: give one in quotes, as in saetui probe 'a multi-level index'")
    return embedded.world(setup.model).prompts
