"""A study as a document: its tables, split quality against tokens, and the evidence of one run a row."""

from statistics import median
from typing import Any

from saetui.reports.document import Block, Document, Heading, Plot, Table, Text
from saetui.reports.run import pairs, run_values, verdict_blocks
from saetui.reports.study_tables import tables
from saetui.reports.svg import Series, line_plot
from saetui.runs.store import Run
from saetui.split.review import read_review
from saetui.studies.report import study_report
from saetui.studies.results import QualityCurve, StudyReport
from saetui.studies.store import Study


def study_document(study: Study) -> Document:
    """What there is of it now. UserError where the study's plan is missing or damaged."""
    report = study_report(study)
    return report_document(report, [run for run in study.runs().values() if run.state() == "finished"])


def report_document(report: StudyReport, finished: list[Run]) -> Document:
    """The document of a report with its ``finished`` runs, in the order of its cells."""
    done = sum(cell.state == "finished" for cell in report.cells)
    blocks: list[Block] = [Text(f"{report.title}. {done} of {len(report.cells)} runs are finished.")]
    blocks += tables(report)
    blocks += _plots(report)
    blocks += _evidence(report, {run.id: run for run in finished})
    blocks += [
        Heading("How it was made"),
        Table("Setup", ("option", "value"), pairs({k: v for k, v in report.setup.items() if v})),
        *_provenance(finished),
    ]
    return Document(f"{report.name}: a study of {len(report.cells)} runs", blocks)


def _plots(report: StudyReport) -> list[Block]:
    """One plot a target: the median over seeds, a line a row."""
    plots: list[Block] = []
    for target in dict.fromkeys(curve.target for curve in report.curves):
        of_target = [curve for curve in report.curves if curve.target == target]
        by_row: dict[str, list[QualityCurve]] = {}
        for curve in of_target:
            by_row.setdefault(curve.row, []).append(curve)
        series = [Series(row, _median(curves), colour) for colour, (row, curves) in enumerate(by_row.items())]
        if any(len(one.points) > 1 for one in series):
            name = f"Feature {target}: mean F1 of the expected children"
            plots.append(Plot(name, line_plot(series, "tokens trained on", "mean F1")))
    return [Heading("Split quality against tokens"), *plots] if plots else []


def _median(curves: list[QualityCurve]) -> list[tuple[float, float]]:
    """The median over seeds at every number of tokens at which one was evaluated."""
    at: dict[int, list[float]] = {}
    for curve in curves:
        for point in curve.points:
            if point.mean_f1 is not None:
                at.setdefault(point.tokens, []).append(point.mean_f1)
    return [(tokens, median(values)) for tokens, values in sorted(at.items())]


def _evidence(report: StudyReport, finished: dict[str, Run]) -> list[Block]:
    """The verdict with its contexts for the first finished and judged run of every row and target."""
    blocks: list[Block] = []
    seen: set[tuple[str, int]] = set()
    for cell in report.cells:
        key = cell.cell.row, cell.cell.target
        run = finished.get(cell.run or "")
        if key in seen or run is None or not (found := verdict_blocks(read_review(run.folder))):
            continue
        seen.add(key)
        blocks += [Heading(f"{cell.cell.id}: {run.id}"), *found]
    return blocks


def _provenance(finished: list[Run]) -> list[Block]:
    """What the runs were made with: as a rule one value each."""
    values = [run_values(run) for run in finished]
    blocks: list[Block] = []
    for title, key in (("Versions", "versions"), ("Inputs", "inputs")):
        found: dict[str, dict[Any, None]] = {}
        for one in values:
            for name, value in (one[key] or {}).items():
                found.setdefault(name, {})[value] = None
        if found:
            rows = [(name, ", ".join(map(str, known))) for name, known in found.items()]
            blocks.append(Table(title, ("what", "value"), rows))
    files = [
        (one["id"], file["path"], str(file["bytes"]), file["sha256"])
        for one in values
        for file in one["files"]
    ]
    return [*blocks, Table("Files", ("run", "file", "bytes", "sha256"), files)] if files else blocks
