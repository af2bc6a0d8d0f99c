"""What the filter and the narrow initialisation buy, and at what cost: the seed's second next step."""

from collections.abc import Callable, Sequence

from saetui.studies.reading import Reading, data_of, finished, grouped
from saetui.studies.results import MATCH, CurvePoint, FilterResult, Over, Sample


def filter_results(readings: Sequence[Reading]) -> list[FilterResult]:
    """One for every kind of data and initialisation, of the runs with the standard loss or, where a study has
    none, the first that it has; none for a target with which only one was tried."""
    pace = _pace(readings)
    losses = [one.cell.recipe["loss"] for one in readings]
    loss = "standard" if "standard" in losses else losses[0]
    alike = [one for one in readings if one.cell.recipe["loss"] == loss]
    results: list[FilterResult] = []
    for of_target in grouped(alike, lambda cell: cell.target).values():
        groups = grouped(of_target, lambda cell: (data_of(cell.recipe), cell.recipe["init"]))
        if len(groups) < 2:
            continue
        reference = _reference([group for group in groups.values() if _is_filtered_narrow(group)])
        results += [
            _result(group, data, init, reference.median if reference else None, pace)
            for (data, init), group in groups.items()
        ]
    return results


def _pace(readings: Sequence[Reading]) -> float | None:
    """Seconds a token that the language model reads: of the runs that computed most of what they read, and
    did not find it in the cache."""
    seconds, tokens = 0.0, 0
    for one in readings:
        paid = one.result.cost
        if paid is None or not paid.tokens_read or not paid.tokens_computed:
            continue
        if (lm_s := paid.clock[0]) is not None and paid.tokens_computed > paid.tokens_read / 2:
            seconds += lm_s
            tokens += paid.tokens_computed
    return seconds / tokens if tokens else None


def _is_filtered_narrow(group: list[Reading]) -> bool:
    recipe = group[0].cell.recipe
    return (recipe["data"], recipe["init"]) == ("filtered", "narrow")


def _reference(groups: list[list[Reading]]) -> Over | None:
    """The mean F1 that filtered data with narrow initialisation end with: of whole rows, as in the seed's run
    9, or else of the first granularity that has any."""
    by_rows = sorted(groups, key=lambda group: group[0].cell.recipe["granularity"] != "row")
    ends = (Over.of(result.mean_f1 for result in finished(group)) for group in by_rows)
    return next((end for end in ends if end), None)


def _result(
    group: list[Reading], data: str, init: str, reference: float | None, pace: float | None
) -> FilterResult:
    done = finished(group)
    reached = [point for one in group if (point := _reaches(one.points, reference))]
    verdicts = [result.success for result in done if result.success is not None]
    split = [
        point
        for one in group
        if one.result.success and one.result.children and (point := _splits(one.points, one.result.children))
    ]

    def paid(name: str) -> Over | None:
        return Over.of(getattr(result.cost, name) for result in done if result.cost)

    return FilterResult(
        target=group[0].cell.target,
        loss=group[0].cell.recipe["loss"],
        data=data,
        init=init,
        runs=len(group),
        judged=len(verdicts),
        successes=sum(verdicts),
        children=next((result.children for result in done if result.children), None),
        passed=Over.of(result.passed for result in done),
        mean_f1=Over.of(result.mean_f1 for result in done),
        kept=Over.of(result.kept for result in done),
        tokens=paid("tokens"),
        tokens_read=paid("tokens_read"),
        tokens_computed=paid("tokens_computed"),
        seconds=Over.of(_alone(one.points[-1], pace) for one in group if one.result in done and one.points),
        to_split=Over.of(point.tokens for point in split),
        read_to_split=Over.of(point.tokens_read for point in split),
        reference=reference,
        matched=len(reached),
        to_match=Over.of(point.tokens for point in reached),
        read_to_match=Over.of(point.tokens_read for point in reached),
        seconds_to_match=Over.of(_alone(point, pace) for point in reached),
        course=tuple(_course([one for one in group if one.result in done])),
    )


def _alone(point: CurvePoint, pace: float | None) -> float | None:
    """Seconds until ``point``, every token read having been computed; what was measured where no run of the
    study computed any."""
    if point.step_seconds is None:
        return None
    if pace is None or point.tokens_read is None:
        return None if point.lm_seconds is None else point.lm_seconds + point.step_seconds
    return pace * point.tokens_read + point.step_seconds


def _reaches(points: Sequence[CurvePoint], reference: float | None) -> CurvePoint | None:
    if reference is None:
        return None
    return next((p for p in points if p.mean_f1 is not None and p.mean_f1 >= MATCH * reference), None)


def _splits(points: Sequence[CurvePoint], children: int) -> CurvePoint | None:
    """The first evaluation from which on all children pass."""
    since = None
    for point in reversed(points):
        if point.passed != children:
            break
        since = point
    return since


def _course(group: list[Reading]) -> list[Sample]:
    if not group:
        return []
    by_tokens = [{point.tokens: point for point in one.points} for one in group]
    shared = set.intersection(*(set(points) for points in by_tokens))

    def over(tokens: int, value: Callable[[CurvePoint], float | None]) -> Over | None:
        return Over.of(value(points[tokens]) for points in by_tokens)

    return [
        Sample(
            tokens,
            over(tokens, lambda point: point.tokens_read),
            over(tokens, lambda point: point.mean_f1),
            over(tokens, lambda point: point.passed),
        )
        for tokens in sorted(shared)
    ]
