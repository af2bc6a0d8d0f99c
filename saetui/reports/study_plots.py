"""A study's curves: split quality against tokens, with the seeds as spread."""

from collections.abc import Callable, Sequence
from statistics import median

from saetui.reports.document import Block, Heading, Plot
from saetui.reports.svg import Series, line_plot
from saetui.studies.results import CurvePoint, FilterResult, Over, QualityCurve, Sample, StudyReport

_MEASURES = (("mean_f1", "mean F1 of the expected children"), ("passed", "expected children found"))


def plots(report: StudyReport) -> list[Block]:
    """Of every target: filter and initialisation against tokens trained on and tokens read, the median in
    its band from the smallest to the largest; then the median of every row."""
    blocks: list[Block] = []
    for target in dict.fromkeys(curve.target for curve in report.curves):
        filtering = [result for result in report.filtering if result.target == target]
        curves = [curve for curve in report.curves if curve.target == target]
        found = [*_of_filter(filtering), *_of_rows(curves)]
        blocks += [Plot(f"Feature {target}: {name}", svg) for name, svg in found if svg]
    return [Heading("Split quality against tokens"), *blocks] if blocks else []


def _of_filter(results: Sequence[FilterResult]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, measure in _MEASURES:
        for x_name, x in (("tokens trained on", _trained), ("tokens read", _read)):
            series = [_banded(result, key, x, colour) for colour, result in enumerate(results)]
            if any(len(one.points) > 1 for one in series):
                name = f"{measure} against {x_name}, loss {results[0].loss.replace('_', ' ')}"
                found.append((name, line_plot(series, x_name, measure)))
    return found


def _trained(sample: Sample) -> float | None:
    return sample.tokens


def _read(sample: Sample) -> float | None:
    return sample.tokens_read.median if sample.tokens_read else None


def _banded(result: FilterResult, key: str, x: Callable[[Sample], float | None], colour: int) -> Series:
    known: list[tuple[float, Over]] = []
    for sample in result.course:
        at, value = x(sample), getattr(sample, key)
        if at is not None and value is not None:
            known.append((at, value))
    return Series(
        f"{result.data}, {result.init.replace('_', ' ')}",
        [(at, value.median) for at, value in known],
        colour,
        band=[(at, value.low, value.high) for at, value in known] if any(v.n > 1 for _, v in known) else (),
    )


def _of_rows(curves: Sequence[QualityCurve]) -> list[tuple[str, str]]:
    by_row: dict[str, list[QualityCurve]] = {}
    for curve in curves:
        by_row.setdefault(curve.row, []).append(curve)
    found: list[tuple[str, str]] = []
    for key, measure in _MEASURES:
        series = [
            Series(row or "recipe", _median(of_row, key), colour)
            for colour, (row, of_row) in enumerate(by_row.items())
        ]
        if any(len(one.points) > 1 for one in series):
            found.append((f"{measure}, every recipe", line_plot(series, "tokens trained on", measure)))
    return found


def _median(curves: Sequence[QualityCurve], key: str) -> list[tuple[float, float]]:
    """Over the seeds, at every number of tokens at which one was evaluated."""
    at: dict[int, list[float]] = {}
    for curve in curves:
        for point in curve.points:
            if (value := _value(point, key)) is not None:
                at.setdefault(point.tokens, []).append(value)
    return [(tokens, median(values)) for tokens, values in sorted(at.items())]


def _value(point: CurvePoint, key: str) -> float | None:
    return getattr(point, key)
