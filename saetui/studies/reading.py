"""What the run of a cell left, read once. Without torch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from saetui.runs.cost import Cost, cost
from saetui.runs.metrics import curve
from saetui.runs.store import Run
from saetui.split.finding.overtaking import Overtaking, overtakings, own_target
from saetui.split.judging.review import Review, read_review
from saetui.studies.cells import Cell
from saetui.studies.results import CellResult, CurvePoint, Found
from saetui.studies.status import CellState
from saetui.studies.verdicts import read_report


@dataclass(frozen=True)
class Reading:
    """A cell's result, its evaluations, and what became of the target on the probe prompts."""

    result: CellResult
    points: tuple[CurvePoint, ...] = ()
    overtaken: tuple[Overtaking, ...] = ()

    @property
    def cell(self) -> Cell:
        return self.result.cell


def read_cell(cell: Cell, state: CellState, message: str | None, run: Run | None, kind: str) -> Reading:
    """``kind``: the plan's."""
    if run is None:
        return Reading(CellResult(cell, None, state, message))
    records = curve(run.read_metrics())
    evaluations = [record for record in records if record.get("eval")]
    last = evaluations[-1] if evaluations else {}
    review = read_review(run.folder)
    expected = review.judgement.children if review.judgement else None
    target = own_target(kind, cell.recipe)
    result = CellResult(
        cell=cell,
        run=run.id,
        state=state,
        message=message,
        passed=review.passed if expected else None,
        children=len(expected) if expected else None,
        missing=_missing(review),
        failed=_failed(review),
        by=review.by if expected else None,
        found=_found(read_report(run.folder)),
        f1={child["child"]: child["f1"] for child in last.get("children") or []},
        fvu=last.get("fvu"),
        l0=last.get("l0"),
        ce_recovered=last.get("ce_recovered"),
        dead=next((record["dead"] for record in reversed(records) if "dead" in record), None),
        kept=last.get("kept"),
        cost=cost(run, records),
    )
    points = tuple(_point(record, target, result.cost) for record in evaluations)
    return Reading(result, points, tuple(overtakings(records, target)))


def _missing(review: Review) -> tuple[str, ...]:
    children = review.judgement.children if review.judgement else []
    return tuple(child.child for child in children if not review.child_holds(child))


def _failed(review: Review) -> dict[int, int]:
    failed: dict[int, int] = {}
    for child in review.judgement.children if review.judgement else []:
        for result in child.criteria:
            fails = not review.holds(child.child, result.criterion)
            failed[result.criterion] = failed.get(result.criterion, 0) + fails
    return failed


def _found(report: dict[str, Any] | None) -> Found | None:
    if report is None:
        return None
    effective, coverage = report.get("effective"), report.get("coverage")
    return Found(
        kind=report["kind"],
        why=report.get("why", ""),
        children=len(report.get("children", [])),
        effective=effective["value"] if effective else None,
        coverage=coverage["value"] if coverage else None,
    )


def _point(record: dict[str, Any], target: int | None, paid: Cost | None) -> CurvePoint:
    """``paid``: the run's cost, which says by which clock."""
    probes = record.get("probes") or []
    leaders = {probe["top"][0][0] for probe in probes if probe["top"]} - {target}
    children = record.get("children") or []
    wall = (paid and paid.gpu) or "lm_cpu_s" not in record
    clock = ("lm_s", "sae_s") if wall else ("lm_cpu_s", "sae_cpu_s")
    return CurvePoint(
        tokens=record["tokens"],
        tokens_read=record.get("tokens_read"),
        lm_seconds=record.get(clock[0]),
        step_seconds=record.get(clock[1]),
        mean_f1=mean(child["f1"] for child in children) if children else None,
        passed=len(record["passed"]) if "passed" in record else None,
        leaders=len(leaders),
        prompts=len(probes),
        fvu=record["fvu"],
    )


def grouped(readings: Iterable[Reading], key: Callable[[Cell], Any]) -> dict[Any, list[Reading]]:
    """In the order in which the keys first come."""
    groups: dict[Any, list[Reading]] = {}
    for one in readings:
        groups.setdefault(key(one.cell), []).append(one)
    return groups


def data_of(recipe: dict[str, Any]) -> str:
    """Axis III in words: ``all``, ``filtered row``, ``filtered mixed`` …"""
    return f"filtered {recipe['granularity']}" if recipe["data"] == "filtered" else "all"


def finished(readings: Sequence[Reading]) -> list[CellResult]:
    return [one.result for one in readings if one.result.state == "finished"]
