"""Filling in a study's results from its runs' own files. What is not finished reports what there is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from saetui.runs.cost import cost
from saetui.runs.metrics import curve
from saetui.runs.store import Run
from saetui.split.overtaking import Overtaking, overtakings, own_target
from saetui.split.review import Review, read_review
from saetui.studies.cells import Cell
from saetui.studies.results import (
    MATCH,
    CellResult,
    CurvePoint,
    FilterResult,
    Over,
    QualityCurve,
    ReplacingResult,
    RowResult,
    StudyReport,
)
from saetui.studies.status import CellState, study_status
from saetui.studies.store import Study
from saetui.studies.verdicts import read_report


@dataclass(frozen=True)
class _Read:
    """A cell with what is in its run's metrics, read once."""

    result: CellResult
    points: tuple[CurvePoint, ...]
    overtaken: list[Overtaking]


def study_report(study: Study) -> StudyReport:
    """What there is now. UserError where the study's plan is missing or damaged."""
    plan, runs = study.plan, study.runs()
    read = [
        _read_cell(now.cell, now.state, now.message, runs.get(now.cell.id), plan.kind)
        for now in study_status(study).cells
    ]
    return StudyReport(
        name=study.name,
        title=plan.title,
        kind=plan.kind,
        setup=plan.setup,
        cells=tuple(one.result for one in read),
        rows=tuple(_row(group) for group in _grouped(read, lambda c: (c.row, c.target))),
        curves=tuple(
            QualityCurve(cell.id, cell.row, cell.target, cell.seed, one.points)
            for one in read
            if one.points and (cell := one.result.cell)
        ),
        filtering=tuple(_filtering(read)) if plan.kind == "split" else (),
        replacing=tuple(_replacing(read)),
    )


def _read_cell(cell: Cell, state: CellState, message: str | None, run: Run | None, kind: str) -> _Read:
    if run is None:
        result = CellResult(
            cell, None, state, message, None, None, (), None, None, {}, None, None, None, None, None
        )
        return _Read(result, (), [])
    records = curve(run.read_metrics())
    evaluations = [record for record in records if record.get("eval")]
    last = evaluations[-1] if evaluations else {}
    review = read_review(run.folder)
    expected = review.judgement.children if review.judgement else None
    report = read_report(run.folder)
    target = own_target(kind, cell.recipe)
    result = CellResult(
        cell=cell,
        run=run.id,
        state=state,
        message=message,
        passed=review.passed if expected else None,
        children=len(expected) if expected else None,
        missing=_missing(review),
        by=review.by if expected else None,
        split=report["kind"] if report else None,
        f1={child["child"]: child["f1"] for child in last.get("children") or []},
        fvu=last.get("fvu"),
        l0=last.get("l0"),
        ce_recovered=last.get("ce_recovered"),
        dead=next((record["dead"] for record in reversed(records) if "dead" in record), None),
        cost=cost(run, records),
    )
    points = tuple(_point(record, target) for record in evaluations)
    return _Read(result, points, overtakings(records, target))


def _missing(review: Review) -> tuple[str, ...]:
    children = review.judgement.children if review.judgement else []
    return tuple(child.child for child in children if not review.child_holds(child))


def _point(record: dict[str, Any], target: int | None) -> CurvePoint:
    probes = record.get("probes") or []
    leaders = {probe["top"][0][0] for probe in probes if probe["top"]} - {target}
    children = record.get("children") or []
    lm_s, sae_s = record.get("lm_s"), record.get("sae_s")
    return CurvePoint(
        tokens=record["tokens"],
        tokens_read=record.get("tokens_read"),
        seconds=None if lm_s is None or sae_s is None else lm_s + sae_s,
        mean_f1=mean(child["f1"] for child in children) if children else None,
        leaders=len(leaders),
        prompts=len(probes),
        fvu=record["fvu"],
    )


def _grouped(read: Sequence[_Read], key: Callable[[Cell], Any]) -> list[list[_Read]]:
    groups: dict[Any, list[_Read]] = {}
    for one in read:
        groups.setdefault(key(one.result.cell), []).append(one)
    return list(groups.values())


def _over(group: list[_Read], value: Callable[[CellResult], float | None]) -> Over | None:
    """Over the group's finished runs."""
    return Over.of(value(one.result) for one in group if one.result.state == "finished")


def _paid(name: str) -> Callable[[CellResult], float | None]:
    return lambda result: getattr(result.cost, name) if result.cost else None


def _counted(group: list[_Read]) -> dict[str, int]:
    verdicts = [one.result.success for one in group if one.result.success is not None]
    return {"runs": len(group), "judged": len(verdicts), "successes": sum(verdicts)}


def _row(group: list[_Read]) -> RowResult:
    first = group[0].result
    names = dict.fromkeys(name for one in group for name in one.result.f1)
    f1 = {name: _over(group, lambda result, name=name: result.f1.get(name)) for name in names}
    return RowResult(
        row=first.cell.row,
        purpose=first.cell.purpose,
        target=first.cell.target,
        recipe=first.cell.recipe,
        seeds=tuple(one.result.cell.seed for one in group),
        finished=sum(one.result.state == "finished" for one in group),
        **_counted(group),
        passed=_over(group, lambda result: result.passed),
        children=next((one.result.children for one in group if one.result.children is not None), None),
        f1={name: over for name, over in f1.items() if over},
        mean_f1=_over(group, lambda result: result.mean_f1),
        fvu=_over(group, lambda result: result.fvu),
        l0=_over(group, lambda result: result.l0),
        ce_recovered=_over(group, lambda result: result.ce_recovered),
        dead=_over(group, lambda result: result.dead),
        tokens=_over(group, _paid("tokens")),
        tokens_read=_over(group, _paid("tokens_read")),
        tokens_computed=_over(group, _paid("tokens_computed")),
        wall_s=_over(group, _paid("wall_s")),
    )


def _filtering(read: list[_Read]) -> list[FilterResult]:
    standard = [one for one in read if one.result.cell.recipe["loss"] == "standard"]
    results: list[FilterResult] = []
    for of_target in _grouped(standard, lambda cell: cell.target):
        groups = _grouped(of_target, lambda cell: (cell.recipe["data"], cell.recipe["init"]))
        if len(groups) < 2:
            continue
        reference = next((over for group in groups if (over := _reference(group))), None)
        results += [_filter(group, reference.median if reference else None) for group in groups]
    return results


def _reference(group: list[_Read]) -> Over | None:
    recipe = group[0].result.cell.recipe
    if (recipe["data"], recipe["init"]) != ("filtered", "narrow"):
        return None
    return _over(group, lambda result: result.mean_f1)


def _filter(group: list[_Read], reference: float | None) -> FilterResult:
    recipe = group[0].result.cell.recipe
    reached = [point for one in group if (point := _reaches(one.points, reference))]
    return FilterResult(
        target=recipe["target"],
        data=recipe["data"],
        init=recipe["init"],
        **_counted(group),
        mean_f1=_over(group, lambda result: result.mean_f1),
        tokens=_over(group, _paid("tokens")),
        tokens_read=_over(group, _paid("tokens_read")),
        tokens_computed=_over(group, _paid("tokens_computed")),
        wall_s=_over(group, _paid("wall_s")),
        reference=reference,
        matched=len(reached),
        to_match=Over.of(point.tokens for point in reached),
        read_to_match=Over.of(point.tokens_read for point in reached),
        seconds_to_match=Over.of(point.seconds for point in reached),
    )


def _reaches(points: Sequence[CurvePoint], reference: float | None) -> CurvePoint | None:
    if reference is None:
        return None
    return next((p for p in points if p.mean_f1 is not None and p.mean_f1 >= MATCH * reference), None)


def _replacing(read: list[_Read]) -> list[ReplacingResult]:
    own = [one for one in read if one.overtaken and one.overtaken[0].start.target is not None]
    results: list[ReplacingResult] = []
    for group in _grouped(own, lambda cell: (cell.row, cell.target)):
        cell = group[0].result.cell
        prompts = dict.fromkeys((o.prompt, o.token) for one in group for o in one.overtaken)
        for prompt, token in prompts:
            seen = [o for one in group for o in one.overtaken if (o.prompt, o.token) == (prompt, token)]
            ends = [o.for_good for o in seen if o.for_good]
            results.append(
                ReplacingResult(
                    row=cell.row,
                    target=cell.target,
                    prompt=prompt,
                    token=token,
                    runs=len(seen),
                    led=sum(o.start.feature == cell.target for o in seen),
                    overtaken=len(ends),
                    first=Over.of(o.first.tokens for o in seen if o.first),
                    for_good=Over.of(lead.tokens for lead in ends),
                    by=tuple(lead.feature for lead in ends if lead.feature is not None),
                )
            )
    return results
