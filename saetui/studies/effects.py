"""What each axis does: its values compared in pairs of runs that differ in nothing else."""

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb
from typing import Any

from saetui.studies.cells import Cell
from saetui.studies.reading import Reading, data_of, grouped
from saetui.studies.results import CellResult, EffectResult, Over

_OF_DATA = ("data", "granularity", "threshold", "mixed_share")
"""What is one axis together: without a filter the others mean nothing."""
_NO_AXES = ("target", "seed", "eval_every", "checkpoint_every", *_OF_DATA)


def effects(readings: Sequence[Reading]) -> list[EffectResult]:
    """Of every axis and every two of its values, in the order of the study; none where no two runs pair."""
    done = [one for one in readings if one.result.state == "finished"]
    results: list[EffectResult] = []
    for of_target in grouped(done, lambda cell: cell.target).values():
        for axis in _axes(of_target):
            pairs = grouped(of_target, lambda cell, axis=axis: _apart_from(cell, axis))
            for first, second in combinations(grouped(of_target, _value_of(axis)), 2):
                results += _effect(axis, first, second, list(pairs.values()))
    return results


def _axes(readings: Sequence[Reading]) -> list[str]:
    recipes = [one.cell.recipe for one in readings]
    names = (["data"] if "data" in recipes[0] else []) + [key for key in recipes[0] if key not in _NO_AXES]
    return [axis for axis in names if len(grouped(readings, _value_of(axis))) > 1]


def _value_of(axis: str) -> Callable[[Cell], Any]:
    return (lambda cell: data_of(cell.recipe)) if axis == "data" else lambda cell: cell.recipe[axis]


def _apart_from(cell: Cell, axis: str) -> tuple[Any, ...]:
    rest = {key: value for key, value in cell.recipe.items() if key not in (axis, *_NO_AXES)}
    if axis != "data" and "data" in cell.recipe:
        rest["data"] = data_of(cell.recipe)
    return cell.seed, *sorted(rest.items())


def _effect(axis: str, first: Any, second: Any, groups: list[list[Reading]]) -> list[EffectResult]:
    value = _value_of(axis)
    pairs: list[tuple[CellResult, CellResult]] = []
    for group in groups:
        one, other = (next((r for r in group if value(r.cell) == v), None) for v in (first, second))
        if one and other:
            pairs.append((one.result, other.result))
    if not pairs:
        return []
    change = [
        b - a
        for one, other in pairs
        if (a := _children(one)) is not None and (b := _children(other)) is not None
    ]

    more, fewer = sum(d > 0 for d in change), sum(d < 0 for d in change)

    def differences(name: str) -> Over | None:
        values = ((getattr(one, name), getattr(other, name)) for one, other in pairs)
        return Over.of(b - a for a, b in values if a is not None and b is not None)

    return [
        EffectResult(
            target=pairs[0][0].cell.target,
            axis=axis,
            first=str(first),
            second=str(second),
            pairs=len(pairs),
            more=more,
            same=len(change) - more - fewer,
            fewer=fewer,
            p_value=sign_test(more, fewer),
            mean_f1=differences("mean_f1"),
            fvu=differences("fvu"),
        )
    ]


def _children(result: CellResult) -> int | None:
    if result.passed is not None:
        return result.passed
    return result.found.children if result.found else None


def sign_test(more: int, fewer: int) -> float | None:
    """The chance of so uneven a count, either way, where more and fewer are equally likely (exact binomial);
    None without any."""
    n = more + fewer
    if not n:
        return None
    tail = sum(comb(n, k) for k in range(min(more, fewer) + 1)) / 2**n
    return min(1.0, 2 * tail)
