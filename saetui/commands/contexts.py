"""``saetui contexts``: what a feature fires on."""

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from saetui import embedded
from saetui.commands.concordance import concordance
from saetui.commands.encoders import open_encoder, open_model, run_option
from saetui.commands.indexing import build_index
from saetui.commands.options import json_option, setup_options
from saetui.commands.output import emit_json
from saetui.features.results import Context, Contexts
from saetui.quantities import percent
from saetui.setup import Setup
from saetui.split.threshold import has_own_threshold, threshold_of

if TYPE_CHECKING:
    from saetui.features.index import FeatureIndex

_BARS = " ▁▂▃▄▅▆▇█"


@click.command()
@click.argument("feature", type=int)
@setup_options
@run_option
@click.option("--tokens", type=click.IntRange(1), default=1_000_000, show_default=True, help="tokens to read")
@click.option("--top", type=click.IntRange(0), default=20, show_default=True, help="top-activating tokens")
@click.option("--before", type=click.IntRange(0), default=5, show_default=True, help="tokens before it")
@click.option("--after", type=click.IntRange(0), default=4, show_default=True, help="tokens after it")
@click.option("--intervals", type=click.IntRange(0), default=0, help="and a sample of so many quantiles")
@json_option
def command(
    feature: int,
    setup: Setup,
    run: str | None,
    tokens: int,
    top: int,
    before: int,
    after: int,
    intervals: int,
    as_json: bool,
) -> None:
    """The top-activating tokens of FEATURE with their contexts, its density and histogram.

    The corpus is read once for all features and what was found is kept, so that the next feature answers
    at once.
    """
    from saetui.features.encoder import check_feature
    from saetui.features.firings import FiringScan
    from saetui.features.index import FeatureIndex
    from saetui.features.statistics import TOP

    lm = open_model(setup)
    opened = open_encoder(setup, lm, run)
    check_feature(opened.encoder, feature, opened.name)  # before the corpus is read, not after
    index = build_index(setup, lm, opened, tokens)
    found = index.contexts(feature, top=top, intervals=intervals, before=before, after=after)
    if top > TOP:  # more than the index itself keeps
        scan = FiringScan(index, feature)
        scan.read()
        found = replace(found, top=scan.page(0, top, before, after).contexts)
    if as_json:
        emit_json(found)
        return
    width = shutil.get_terminal_size((80, 24)).columns
    filtered = _filtered(setup, index, feature) if isinstance(index, FeatureIndex) and run is None else ""
    for line in report(found, width, filtered):
        click.echo(line)


def report(found: Contexts, width: int, filtered: str = "") -> list[str]:
    """The answer as lines of at most ``width`` cells; ``filtered``: a line about a filter by the feature."""
    lines = [
        f"feature {found.feature} of {found.sae} · fires on {found.fired:,} of {found.tokens_read:,} tokens "
        f"({found.density:.3%})"
    ]
    if not found.fired:
        return [*lines, "it never fired: a dead feature, or one that needs more --tokens"]
    lines.append(_histogram(found))
    lines += [*([filtered] if filtered else []), "", *_concordance(found.top, width)]
    for interval in found.intervals:
        share = interval.count / found.fired
        lines += ["", f"{interval.low:.2f} to {interval.high:.2f} · {interval.count:,} tokens ({share:.0%})"]
        lines += _concordance(interval.contexts, width)
    return lines


def _filtered(setup: Setup, index: "FeatureIndex", feature: int) -> str:
    """What a split's filter by the feature would keep, at the threshold that it would have."""
    own = has_own_threshold(setup, feature)
    highest = float(index.statistics.max_activation[feature])
    threshold = embedded.world(setup.model).threshold if own else threshold_of(highest)
    kept = index.kept(feature, threshold)
    shares = f"{percent(kept.tokens)} of the tokens, {percent(kept.rows)} of the rows"
    return f"a filter above {threshold:g} keeps {shares}"


def _histogram(found: Contexts) -> str:
    most = max(found.histogram)
    # Square roots: the many weak firings would else hide the few strong ones.
    heights = [0 if not n else max(1, round((n / most) ** 0.5 * 8)) for n in found.histogram]
    bars = "".join(_BARS[height] for height in heights)
    return f"activations 0 {bars} {found.max_activation:.2f}  (√ counts, at most {most:,})"


def _concordance(contexts: list[Context], width: int) -> list[str]:
    return concordance([(f"{c.activation:>7.2f}", c.tokens, c.center) for c in contexts], width)
