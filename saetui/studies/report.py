"""A study's results, from its runs' own files. What is not finished reports what there is. Without torch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from saetui.runs.files import signature
from saetui.runs.store import Run
from saetui.split.finding.overtaking import Overtaking
from saetui.studies.effects import effects
from saetui.studies.filtering import filter_results
from saetui.studies.reading import Reading, finished, grouped, read_cell
from saetui.studies.results import CellResult, Over, QualityCurve, ReplacingResult, RowResult, StudyReport
from saetui.studies.status import StudyStatus, study_status
from saetui.studies.store import Plan, Study
from saetui.studies.targets import over_targets
from saetui.studies.verdicts import REPORT_FILE


class ReportReader:
    """Reads one study's results again and again: a run's files only where they have changed."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._known: dict[str, tuple[Any, Reading]] = {}

    def read(self, status: StudyStatus) -> StudyReport:
        """What there is now, ``status`` being where the study stands. UserError where its plan is missing
        or damaged."""
        plan, runs = self.study.plan, self.study.runs()
        readings: list[Reading] = []
        for now in status.cells:
            run = runs.get(now.cell.id)
            stamp = (run.folder, *map(signature, run_files(run))) if run else None
            known = self._known.get(now.cell.id)
            if known is None or known[0] != stamp:
                known = stamp, read_cell(now.cell, now.state, now.message, run, plan.kind)
                self._known[now.cell.id] = known
            result = replace(known[1].result, cell=now.cell, state=now.state, message=now.message)
            readings.append(replace(known[1], result=result))
        return _report(self.study, plan, readings)


def run_files(run: Run) -> list[Path]:
    """The files that a run's part of a report is read from."""
    return [run.metrics_path, run.events_path, run.judgements_path, run.folder / REPORT_FILE]


def study_report(study: Study) -> StudyReport:
    """What there is now. UserError where the study's plan is missing or damaged."""
    return ReportReader(study).read(study_status(study))


def _report(study: Study, plan: Plan, readings: list[Reading]) -> StudyReport:
    return StudyReport(
        name=study.name,
        title=plan.title,
        kind=plan.kind,
        setup=plan.setup,
        cells=tuple(one.result for one in readings),
        rows=tuple(_row(group) for group in grouped(readings, lambda c: (c.row, c.target)).values()),
        curves=tuple(
            QualityCurve(cell.id, cell.row, cell.target, cell.seed, one.points)
            for one in readings
            if one.points and (cell := one.cell)
        ),
        filtering=tuple(filter_results(readings)) if plan.kind == "split" else (),
        effects=tuple(effects(readings)),
        replacing=tuple(replacing(readings)),
        targets=over_targets([one.result for one in readings]),
    )


def _row(group: list[Reading]) -> RowResult:
    first, done = group[0].cell, finished(group)
    verdicts = [result.success for result in done if result.success is not None]
    names = dict.fromkeys(name for result in done for name in result.f1)
    criteria = sorted({criterion for result in done for criterion in result.failed})

    def over(value: Callable[[CellResult], float | None]) -> Over | None:
        return Over.of(value(result) for result in done)

    def paid(name: str) -> Over | None:
        return over(lambda result: getattr(result.cost, name) if result.cost else None)

    f1 = {name: over(lambda result, name=name: result.f1.get(name)) for name in names}
    return RowResult(
        row=first.row,
        purpose=first.purpose,
        target=first.target,
        recipe=first.recipe,
        seeds=tuple(one.cell.seed for one in group),
        runs=len(group),
        finished=len(done),
        judged=len(verdicts),
        successes=sum(verdicts),
        passed=over(lambda result: result.passed),
        children=next((result.children for result in done if result.children is not None), None),
        failed={c: sum(result.failed.get(c, 0) for result in done) for c in criteria},
        found=over(lambda result: result.found.children if result.found else None),
        effective=over(lambda result: result.found.effective if result.found else None),
        f1={name: spread for name, spread in f1.items() if spread},
        mean_f1=over(lambda result: result.mean_f1),
        fvu=over(lambda result: result.fvu),
        l0=over(lambda result: result.l0),
        ce_recovered=over(lambda result: result.ce_recovered),
        dead=over(lambda result: result.dead),
        tokens=paid("tokens"),
        tokens_read=paid("tokens_read"),
        tokens_computed=paid("tokens_computed"),
        busy_s=paid("busy_s"),
    )


def replacing(readings: list[Reading]) -> list[ReplacingResult]:
    """Of every row, target and probe prompt on which the target led at first in a run."""
    own = [one for one in readings if one.overtaken and one.overtaken[0].start.target is not None]
    results: list[ReplacingResult] = []
    for (row, target), group in grouped(own, lambda cell: (cell.row, cell.target)).items():
        prompts: dict[tuple[str, str], list[Overtaking]] = {}
        for one in group:
            for seen in one.overtaken:
                prompts.setdefault((seen.prompt, seen.token), []).append(seen)
        results += [_replaced(row, target, prompt, token, seen) for (prompt, token), seen in prompts.items()]
    return [result for result in results if result.led]  # else the prompt is none of the target's


def _replaced(row: str, target: int, prompt: str, token: str, seen: list[Overtaking]) -> ReplacingResult:
    led = [one for one in seen if one.start.feature == target]
    lost = [one for one in led if one.for_good]
    return ReplacingResult(
        row=row,
        target=target,
        prompt=prompt,
        token=token,
        runs=len(seen),
        led=len(led),
        overtaken=len(lost),
        first=Over.of(one.first.tokens for one in led if one.first),
        for_good=Over.of(one.for_good.tokens for one in lost if one.for_good),
        settled=Over.of(one.settled.tokens for one in lost),
        by=tuple(one.end.feature for one in lost if one.end.feature is not None),
    )
