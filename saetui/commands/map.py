"""``saetui map``: the features of a run and of its narrow SAE in one plane."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saetui.commands.options import json_option
from saetui.commands.output import emit_json, say
from saetui.errors import UserError
from saetui.settings import runs_root

if TYPE_CHECKING:
    from saetui.features.decoder_map import DecoderMap, Method
    from saetui.runs.store import Run

HEIGHT = 24
NARROW, RESULT = "narrow", "run"


@click.command(name="map")
@click.argument("run", metavar="RUN")
@click.option(
    "--method", type=click.Choice(["pca", "umap"]), default="pca", show_default=True,
    help="umap needs the extra: pip install 'saetui[map]'",
)  # fmt: skip
@click.option(
    "--mark", type=int, multiple=True, help="mark this feature of the run as a child too; repeatable"
)
@click.option("--seed", type=int, default=0, show_default=True, help="of UMAP")
@click.option("--output", "-o", metavar="FILE", help="write it as .svg or .html instead")
@json_option
def command(
    run: str, method: "Method", mark: tuple[int, ...], seed: int, output: str | None, as_json: bool
) -> None:
    """The decoder rows of the narrow SAE and of what RUN ended with in one plane, by their directions: the
    target and its children are marked, which a verdict or a split report has named.
    """
    from saetui.features.decoder_map import decoder_map
    from saetui.features.encoder import check_feature
    from saetui.loading import load_sae
    from saetui.runs.store import find_run
    from saetui.split.grafting.graft import Graft
    from saetui.split.outcome import open_outcome, setup_of

    found = find_run(runs_root(), run)
    outcome = open_outcome(found)
    encoder = outcome.encoder
    if isinstance(encoder, Graft):  # its other features are the narrow SAE's
        narrow, rows, first = encoder.narrow, encoder.child_W_dec, encoder.narrow.d_sae
    else:
        narrow, rows, first = load_sae(setup_of(found)), encoder.W_dec, 0
    for feature in mark:
        check_feature(encoder, feature, outcome.name)
    children = sorted({*(outcome.children or _named_children(found)), *mark})
    say(f"mapping {narrow.d_sae + len(rows):,} decoder rows …")
    placed = decoder_map({NARROW: narrow.W_dec, RESULT: rows}, method, seed)
    if as_json:
        emit_json({"run": found.id, "target": outcome.target, "children": children, "first": first}
                  | asdict(placed))  # fmt: skip
        return
    groups = _groups(placed, outcome.target, children, first)
    title = f"{found.id}: feature {outcome.target} and its children"
    if not children:
        say(f"no children are known: `saetui judge {found.id}` finds some, --mark names some")
    if output is None:
        click.echo(_terminal(groups, title, placed))
    else:
        _write(Path(output), groups, title, placed, first)
        say(f"the map is in {output}")


def _named_children(run: "Run") -> set[int]:
    """The features that the verdict on a run, or its split report, calls children."""
    from saetui.split.judging.review import read_review
    from saetui.studies.verdicts import read_report

    judgement, report = read_review(run.folder).judgement, read_report(run.folder)
    named = {child.feature for child in judgement.children} if judgement else set()
    named |= {child["feature"] for child in report["children"]} if report else set()
    return {feature for feature in named if feature is not None}


def _groups(
    placed: "DecoderMap", target: int, children: list[int], first: int
) -> list[tuple[str, str, list[int]]]:
    """What is drawn, topmost first: a label, the dictionary, and indices in it. ``first`` is the number of
    the run's first row among its features."""
    marked = [child - first for child in children]
    others = [i for i in range(len(placed.x[RESULT])) if i not in set(marked)]
    groups = [
        (f"target {target}", NARROW, [target]),
        (f"children ({len(marked)})", RESULT, marked),
        ("narrow SAE", NARROW, [i for i in range(len(placed.x[NARROW])) if i != target]),
        ("the run's", RESULT, others),
    ]
    return [group for group in groups if group[2]]


def _axes(placed: "DecoderMap") -> str:
    if placed.explained is None:
        return "UMAP by cosine"
    return f"PCA, {placed.explained:.1%} of the variance"


def _terminal(groups: list[tuple[str, str, list[int]]], title: str, placed: "DecoderMap") -> str:
    from saetui.tui.widgets.scatter import Points, draw_scatter

    points = [
        Points(label, [placed.x[name][i] for i in chosen], [placed.y[name][i] for i in chosen], colour)
        for colour, (label, name, chosen) in enumerate(groups)
    ]
    width = shutil.get_terminal_size((80, 24)).columns
    grid = draw_scatter(points, min(width, 120), HEIGHT, title, _axes(placed))
    return "\n".join(line.rstrip() for line in grid.plain().splitlines())


def _write(
    path: Path, groups: list[tuple[str, str, list[int]]], title: str, placed: "DecoderMap", first: int
) -> None:
    from saetui.reports import html
    from saetui.reports.document import Document, Plot, Text
    from saetui.reports.svg import Series, scatter_plot

    series = [
        Series(
            label,
            [(placed.x[name][i], placed.y[name][i]) for i in chosen],
            colour,
            faint=colour > 1,
            labels=[f"{name} {i + (first if name == RESULT else 0)}" for i in chosen],
        )
        for colour, (label, name, chosen) in enumerate(groups)
    ]
    svg = scatter_plot(series, _axes(placed), "")
    said = "Decoder rows by their directions. Rest the pointer on a point to see which feature it is."
    pages: dict[str, Any] = {
        ".svg": svg,
        ".html": html.render(Document(title, [Text(said), Plot(_axes(placed), svg)])),
    }
    if path.suffix not in pages:
        raise UserError(f"{path}: a map is written as .svg or .html")
    try:
        path.write_text(pages[path.suffix] + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
