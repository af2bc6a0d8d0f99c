"""``saetui export``: a run or a study as one document, for a notebook, a paper's appendix or a colleague."""

import json
from pathlib import Path
from typing import Any

import click

from saetui.commands.output import jsonable, say, write_file
from saetui.errors import UsageError
from saetui.record_text import csv_text
from saetui.reports import html, markdown
from saetui.reports.run import curve_records, run_document, run_values
from saetui.reports.study import study_document, study_values
from saetui.runs.store import Run, find_run
from saetui.settings import runs_root
from saetui.studies.store import Study, find_study, list_studies

FORMATS = ("md", "html", "json", "csv")


@click.command()
@click.argument("name", metavar="RUN|STUDY")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="[default: by the ending of FILE, or else md]"
)
@click.option("--output", "-o", metavar="FILE", help="file to write  [default: stdout]")
def command(name: str, form: str | None, output: str | None) -> None:
    """Write a run or a study: what came out with its evidence, and all that is needed to repeat it.

    md is a document without plots, html one self-contained file with them, json everything, csv the run's
    curve or the study's runs, for a spreadsheet.
    """
    if form is None:
        ending = Path(output).suffix.removeprefix(".") if output else ""
        form = ending if ending in FORMATS else "md"
    subject = _find(name)
    text = written(subject, form)
    if output is None:
        click.echo(text)
        return
    write_file(Path(output), text)
    say(f"{subject.folder.name} is in {output}")


def written(subject: Run | Study, form: str) -> str:
    """A run or a study in one of ``FORMATS``, without a newline at the end."""
    if form in ("md", "html"):
        document = run_document(subject) if isinstance(subject, Run) else study_document(subject)
        return (html if form == "html" else markdown).render(document)
    if form == "json":
        return json.dumps(jsonable(_values(subject)), indent=1, ensure_ascii=False)
    return csv_text(_records(subject))


def _find(name: str) -> Run | Study:
    """UsageError where there is neither."""
    if any(study.name == name for study in list_studies(runs_root())):
        return find_study(runs_root(), name)
    try:
        return find_run(runs_root(), name)
    except UsageError as error:
        raise UsageError(f"{error}; nor is there such a study: `saetui study list`") from None


def _values(subject: Run | Study) -> Any:
    return run_values(subject) if isinstance(subject, Run) else study_values(subject)


def _records(subject: Run | Study) -> list[dict[str, Any]]:
    if isinstance(subject, Run):
        return curve_records(subject)
    from saetui.reports.study_tables import cell_records
    from saetui.studies.report import study_report

    return cell_records(study_report(subject))
