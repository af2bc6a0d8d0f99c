"""A study as a document: its tables, split quality against tokens, and the evidence of one run a row."""

from dataclasses import asdict
from typing import Any

from saetui.reports.document import Block, Code, Document, Heading, Table, Text
from saetui.reports.provenance import made_with, provenance
from saetui.reports.run import pairs, stored_report_blocks, verdict_blocks
from saetui.reports.study_plots import plots
from saetui.reports.study_tables import tables
from saetui.runs.store import Run
from saetui.split.judging.review import read_review
from saetui.studies.report import study_report
from saetui.studies.results import StudyReport
from saetui.studies.store import Study
from saetui.studies.verdicts import read_report


def study_document(study: Study) -> Document:
    """What there is of it now. UserError where the study's plan is missing or damaged."""
    finished = [run for run in study.runs().values() if run.state() == "finished"]
    return report_document(study_report(study), finished, study.text)


def study_values(study: Study) -> dict[str, Any]:
    """Everything that is exported, as plain values: the report, the study's ``file`` and, by run, versions,
    inputs and files with their hashes."""
    finished = [run for run in study.runs().values() if run.state() == "finished"]
    return {**asdict(study_report(study)), "file": study.text, "made": made_with(finished)}


def report_document(report: StudyReport, finished: list[Run], text: str = "") -> Document:
    """The document of a report with its ``finished`` runs, in the order of its cells, and the ``text`` of the
    study's file."""
    done = sum(cell.state == "finished" for cell in report.cells)
    blocks: list[Block] = [Text(f"{report.title}. {done} of {len(report.cells)} runs are finished.")]
    *summary, runs = tables(report)
    blocks += summary
    blocks += plots(report)
    blocks += [Heading("Run by run"), runs]
    blocks += _evidence(report, {run.id: run for run in finished})
    blocks += [
        Heading("How it was made"),
        *([Text("The study's file:"), Code(text)] if text else []),
        Table("Setup", ("option", "value"), pairs({k: v for k, v in report.setup.items() if v})),
        Table("Recipe of every run", ("option", "value"), pairs(_shared_recipe(report))),
        *provenance(finished),
    ]
    return Document(f"{report.name}: a study of {len(report.cells)} runs", blocks)


def _shared_recipe(report: StudyReport) -> dict[str, Any]:
    """The options that all runs have alike; in the others they differ by row or seed."""
    recipes = [cell.cell.recipe for cell in report.cells]
    return {key: value for key, value in recipes[0].items() if all(r.get(key) == value for r in recipes)}


def _evidence(report: StudyReport, finished: dict[str, Run]) -> list[Block]:
    """The verdict, or the split report, with its contexts: of the first finished run of every row and
    target that has one."""
    blocks: list[Block] = []
    seen: set[tuple[str, int]] = set()
    for cell in report.cells:
        key = cell.cell.row, cell.cell.target
        run = finished.get(cell.run or "")
        if key in seen or run is None:
            continue
        found = verdict_blocks(read_review(run.folder)) or stored_report_blocks(read_report(run.folder))
        if not found:
            continue
        seen.add(key)
        blocks += [Heading(f"{cell.cell.id}: {run.id}"), *found]
    return blocks
