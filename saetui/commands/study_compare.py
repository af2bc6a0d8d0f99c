"""``saetui study compare``: two studies of the same targets, child by child, over seeds and targets."""

import sys

import click

from saetui.commands.live_line import LiveLine
from saetui.commands.options import limit_options
from saetui.commands.output import emit_json, print_table, say
from saetui.reports import markdown
from saetui.runs.store import Run
from saetui.settings import runs_root
from saetui.split.report import SplitThresholds
from saetui.studies.store import Study, find_study


@click.command("compare")
@click.argument("first", metavar="STUDY")
@click.argument("second", metavar="STUDY")
@click.option(
    "--tokens", type=click.IntRange(1000), default=100_000, show_default=True, help="held-out tokens to read"
)
@click.option(
    "--agreement",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="from here on two children count as one",
)
@click.option(
    "--ungate", is_flag=True, help="train the grafts without their gate first, where that is missing"
)
@limit_options
@click.option("--json", "form", flag_value="json", help="print everything as JSON")
@click.option("--markdown", "form", flag_value="markdown", help="print the tables as Markdown")
def compare_command(
    first: str,
    second: str,
    tokens: int,
    agreement: float,
    ungate: bool,
    limits: SplitThresholds,
    form: str | None,
) -> None:
    """Which children two studies' runs share, over seeds and targets: a study of grafts and one of wide SAEs.

    Finished runs of the same target and seed are matched child by child, and those of one study with
    neighbouring seeds as well: what a method shares with itself is the most that it could share with another.
    """
    from saetui.reports.methods_tables import methods_tables, totals
    from saetui.studies.methods import compare_methods

    studies = [find_study(runs_root(), name) for name in (first, second)]
    line = LiveLine(sys.stderr)
    if ungate:
        _ungate([run for study in studies for run in _gated(study)], line)
    report = compare_methods(
        studies[0],
        studies[1],
        tokens=tokens,
        limits=limits,
        agreement=agreement,
        on_target=lambda done, total: line.draw(f"comparing: {done} of {total} targets"),
    )
    line.draw("")
    if report.left_out:
        say(f"{len(report.left_out)} runs have no finished run of their target and seed in the other study")
    if form == "json":
        emit_json(report)
    elif form == "markdown":
        click.echo("\n\n".join(markdown.table(table, level=2) for table in methods_tables(report)))
        click.echo(f"\n{markdown.escape(totals(report))}.")
    else:
        for table in methods_tables(report):
            print_table(table)
            click.echo()
        click.echo(totals(report))


def _gated(study: Study) -> list[Run]:
    """Finished grafts that have no ungated SAE yet."""
    return [
        run
        for run in study.runs().values()
        if run.manifest.kind == "graft"
        and run.state() == "finished"
        and not any(event["kind"] == "ungated" for event in run.read_events())
    ]


def _ungate(runs: list[Run], line: LiveLine) -> None:
    from saetui.loading import load_lm
    from saetui.split.outcome import setup_of
    from saetui.split.ungate_run import ungate_run

    lm = load_lm(setup_of(runs[0])) if runs else None
    for done, run in enumerate(runs):
        line.draw(f"training without the gate: {done} of {len(runs)} grafts")
        ungate_run(run, lm)
