"""Two methods compared, as a document and as plain values."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from saetui.reports.document import Block, Code, Document, Heading, Plot, Table, Text
from saetui.reports.methods_tables import child_tables, methods_tables, totals
from saetui.reports.provenance import made_with, provenance
from saetui.reports.run import pairs
from saetui.reports.svg import Series, scatter_plot
from saetui.runs.store import Run
from saetui.split.comparison import Match
from saetui.studies.method_results import MethodsReport


def methods_document(report: MethodsReport, runs: Sequence[Run]) -> Document:
    """The tables, which child is which, and what is needed to repeat it; ``runs``: those compared."""
    blocks: list[Block] = [
        Text(f"{totals(report)}."),
        *methods_tables(report),
        *_plot(report),
        Heading("Child by child"),
        *child_tables(report),
        Heading("How it was made"),
        Code(f"saetui study compare {report.first} {report.second} --tokens {report.tokens}"),
        Table("Setup", ("option", "value"), pairs({k: v for k, v in report.setup.items() if v})),
        Table("Limits", ("limit", "value"), pairs(asdict(report.limits) | {"agreement": report.agreement})),
        *provenance(runs),
    ]
    return Document(f"{report.first} and {report.second}, child by child", blocks)


def _plot(report: MethodsReport) -> list[Block]:
    """How far children that are in a match lie from those that are in none."""
    found: tuple[tuple[str, list[Match]], ...] = (
        ("in a match", [match for pair in report.comparisons for match in pair.matches]),
        ("in none, with the nearest", [match for pair in report.comparisons for match in pair.nearest]),
    )
    series = [
        Series(label, [(match.cosine, match.agreement) for match in matches], colour)
        for colour, (label, matches) in enumerate(found)
    ]
    svg = scatter_plot(series, "cosine of decoder rows", "agreement of activations")
    return [Plot("Children, with their match or nearest", svg)] if svg else []


def methods_values(report: MethodsReport, runs: Sequence[Run]) -> dict[str, Any]:
    """Everything that is exported, as plain values: the report and, by run, versions, inputs and files."""
    return {**asdict(report), "made": made_with(runs)}
