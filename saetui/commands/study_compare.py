"""``saetui study compare``: two studies of the same targets, child by child, over seeds and targets."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from saetui.commands.options import comparison_options, limit_options
from saetui.commands.output import jsonable, print_table, say, write_file
from saetui.commands.reading import Reading
from saetui.errors import UsageError
from saetui.reports import html, markdown
from saetui.settings import runs_root
from saetui.split.finding.report import SplitThresholds
from saetui.studies.store import Study, find_study

if TYPE_CHECKING:
    from saetui.studies.method_results import MethodsReport

FORMATS = ("md", "html", "json")


@click.command("compare")
@click.argument("first", metavar="STUDY")
@click.argument("second", metavar="STUDY")
@comparison_options
@click.option(
    "--ungate", is_flag=True, help="train the grafts without their gate first, where that is missing"
)
@limit_options
@click.option("--json", "form", flag_value="json", help="print everything as JSON")
@click.option("--markdown", "form", flag_value="md", help="print the whole document as Markdown")
@click.option(
    "--output",
    "-o",
    "outputs",
    multiple=True,
    metavar="FILE",
    help=f"write it to FILE, as its ending says: {', '.join(FORMATS)}; repeatable",
)
def compare_command(
    first: str,
    second: str,
    tokens: int,
    agreement: float,
    ungate: bool,
    limits: SplitThresholds,
    form: str | None,
    outputs: tuple[str, ...],
) -> None:
    """Which children two studies' runs share, over seeds and targets: a study of grafts and one of wide SAEs.

    Finished runs of the same target and seed are matched child by child, and those of one study with
    neighbouring seeds as well: what a method shares with itself is the most that it could share with another.
    """
    files = [(Path(output), _form(output)) for output in outputs]
    from saetui.studies.methods import compare_methods

    studies = [find_study(runs_root(), name) for name in (first, second)]
    reading = Reading()
    if ungate:
        _ungate(studies, reading)
    say("loading the language model and both studies' SAEs …")
    report = compare_methods(
        studies[0],
        studies[1],
        tokens=tokens,
        limits=limits,
        agreement=agreement,
        on_progress=lambda done, total: reading.share("comparing: {} of {} targets", done, total),
    )
    reading.end()
    if report.left_out:
        say(f"{len(report.left_out)} runs have no finished run of their target and seed in the other study")
    for path, its in files:
        write_file(path, _written(report, studies, its))
        say(f"the comparison is in {path}")
    if form:
        click.echo(_written(report, studies, form))
    elif not files:
        _print(report)


def _form(output: str) -> str:
    """UsageError, before anything is read, where the ending says nothing."""
    if (ending := Path(output).suffix.removeprefix(".")) in FORMATS:
        return ending
    raise UsageError(f"-o {output}: its ending says what to write: one of {', '.join(FORMATS)}")


def _print(report: "MethodsReport") -> None:
    from saetui.reports.methods_tables import methods_tables, totals

    for table in methods_tables(report):
        print_table(table)
        click.echo()
    click.echo(totals(report))


def _written(report: "MethodsReport", studies: Sequence[Study], form: str) -> str:
    from saetui.reports.methods import methods_document, methods_values

    by_id = {run.id: run for study in studies for run in study.runs().values()}
    runs = [by_id[run] for one in report.targets for run in (*one.first.runs, *one.second.runs)]
    if form == "json":
        return json.dumps(jsonable(methods_values(report, runs)), ensure_ascii=False)
    render: Callable[..., str] = html.render if form == "html" else markdown.render
    return render(methods_document(report, runs))


def _ungate(studies: Sequence[Study], reading: Reading) -> None:
    """Ungates the finished grafts that were never ungated; those of a stopped one are kept."""
    from saetui.loading import load_lm
    from saetui.split.grafting.ungate_run import ungate_run
    from saetui.split.outcome import setup_of
    from saetui.studies.methods import last_ungated

    for study in studies:
        runs = [
            run
            for run in study.runs().values()
            if run.manifest.kind == "graft" and run.state() == "finished" and last_ungated(run) is None
        ]
        lm = load_lm(setup_of(runs[0])) if runs else None
        for done, run in enumerate(runs):
            reading.say(f"training without the gate: {done} of {len(runs)} grafts")
            ungate_run(run, lm)
