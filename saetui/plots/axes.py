"""Bounds, ticks and their labels: round numbers that stay put while the data grow."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from rich.cells import cell_len

from saetui.quantities import duration, short, si


def nice_step(rough: float, mantissas: tuple[float, ...] = (1, 2, 5, 10)) -> float:
    """The smallest 1, 2 or 5 times a power of ten that is not below ``rough`` (> 0)."""
    power = 10.0 ** math.floor(math.log10(rough))
    for mantissa in mantissas:
        if mantissa * power >= rough * (1 - 1e-9):
            return mantissa * power
    return 10 * power


_STEPS = (1, 2, 2.5, 5, 10)
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def nice_seconds(rough: float) -> float:
    """The same for times: whole parts of minutes, hours and days."""
    for step in _SECONDS:
        if step >= rough:
            return step
    return 86400 * nice_step(rough / 86400)


@dataclass(frozen=True)
class Axis:
    """One way to lay out x: its name, how a tick is written, and which steps are round."""

    name: str
    label: Callable[[float], str]
    step: Callable[[float], float] = nice_step
    log: bool = False
    """Decades are equally long, as for what happens mostly in the first steps; zero counts as one."""


TOKENS = Axis("tokens", short)
LOG_TOKENS = Axis("tokens, log", short, log=True)
LOG_STEPS = Axis("steps, log", short, log=True)
STEPS = Axis("steps", short)
WALL = Axis("wall time", lambda seconds: re.sub(r"(?<=\D)00?[smh]$", "", duration(seconds)), nice_seconds)


def linear_bounds(low: float, high: float) -> tuple[float, float, float]:
    """(low, high, step): round bounds around the data, a handful of steps apart."""
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size or size < 1e-280:
        # A constant: some room around it, and zero as the floor of a zero.
        room = abs(low) * 0.1 if size >= 1e-280 else 1.0
        low, high = (low - room, high + room) if size >= 1e-280 else (0.0, room)
    step = nice_step((high - low) / 5, _STEPS)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def log_bounds(low: float, high: float) -> tuple[float, float]:
    """Bounds at 1, 2 or 5 times a power of ten around positive data."""
    low, high = max(low, 1e-280), max(high, 1e-280)
    top = nice_step(high)
    bottom = nice_step(low)
    while bottom > low * (1 + 1e-9):
        bottom = _lower(bottom)
    if bottom >= top:
        bottom = _lower(top)
    return bottom, top


def _lower(value: float) -> float:
    """The round number below a round number: 10 → 5 → 2 → 1 → .5."""
    power = 10.0 ** math.floor(math.log10(value * 1.0001))
    mantissa = round(value / power)
    return power * {1: 0.5, 2: 1.0, 5: 2.0}.get(mantissa, 5.0)


def linear_ticks(low: float, high: float, step: float, rows: int) -> list[tuple[float, str]]:
    """(value, label) at multiples of the smallest round step that puts them two rows apart; at the bounds
    where fewer than two such multiples lie between them."""
    while True:
        values = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        if len(values) < 2:
            return list(zip((low, high), _labels([low, high], high - low), strict=True))
        spots = [round((high - value) / (high - low) * (rows - 1)) for value in values]
        if all(above - below >= 2 for above, below in pairwise(spots)):
            return list(zip(values, _labels(values, step), strict=True))
        step = nice_step(step * 1.01, _STEPS)


def _labels(values: list[float], step: float) -> list[str]:
    largest = max(abs(value) for value in values)
    values = [0.0 if abs(value) < step * 1e-6 else value for value in values]
    if largest >= 1e4 or largest < 1e-3:
        digits = min(6, max(2, math.ceil(math.log10(largest / step) + 1e-9) + 1)) if largest else 2
        return [_trim(si(value, digits)) for value in values]
    decimals = next((n for n in range(7) if abs(step * 10**n - round(step * 10**n)) < 1e-6), 6)
    return [f"{value:.{min(decimals, 6)}f}" for value in values]


def _trim(text: str) -> str:
    suffix = text[-1] if text[-1] in "TGMk" else ""
    number = text.removesuffix(suffix)
    if "." in number and "e" not in number:
        number = number.rstrip("0").rstrip(".")
    return number + suffix


def log_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """(value, label): both bounds, and between them decades, or 1-2-5 where there is room for them."""
    rounds = [low]
    while rounds[-1] < high * (1 - 1e-9) and len(rounds) < 2000:
        value = rounds[-1]
        power = 10.0 ** math.floor(math.log10(value * 1.0001))
        rounds.append(power * {1: 2.0, 2: 5.0}.get(round(value / power), 10.0))
    inner = rounds[1:-1]
    decades = [v for v in inner if abs(math.log10(v) - round(math.log10(v))) < 1e-6]
    for chosen in (inner, decades, *(decades[::n] for n in (2, 3, 5, 10, 50))):
        if len(chosen) + 2 <= max(most, 2):
            break
    else:
        chosen = []
    return [(value, short(value)) for value in (low, *chosen, high)]


def x_bounds(axis: Axis, low: float, high: float, domain: tuple[float, float] | None) -> tuple[float, float]:
    """The domain where one is planned, widened if the data go beyond; else round bounds from zero on.

    On a logarithmic axis, in powers of ten: from the first point to the domain's end."""
    if axis.log:
        end = max(high, domain[1] if domain else 0.0, 1.0)
        start = math.log10(max(low, 1.0))
        return start, max(math.log10(end) if domain else float(math.ceil(math.log10(end))), start + 0.01)
    if domain is not None and domain[0] < domain[1]:
        low, high = min(domain[0], low), max(domain[1], high)
        if (low, high) == domain:
            return domain
    if 0 <= low <= high / 2:
        low = 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high)) or high - low < 1e-280:
        return low, low + max(abs(low) * 1e-6, 1.0)
    step = axis.step((high - low) / 10)
    return math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step


def place_x_ticks(axis: Axis, low: float, high: float, width: int, room: int = 0) -> list[tuple[int, str]]:
    """(column, label) of ticks under ``width`` columns: none overlaps, touches or repeats another.

    As many as fit, or fewer where that leaves a gap of ``room`` cells for the axis' name."""
    if width < 1:
        return []
    if axis.log:
        return _place_decades(axis, low, high, width)
    best: list[tuple[int, str]] = []
    for most in range(max(1, width // 8), 0, -1):
        step = axis.step((high - low) / most)
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        placed: list[tuple[int, str]] = []
        for i in range(first, min(last, first + 2 * width) + 1):
            value = i * step
            label = axis.label(value)
            size = cell_len(label)
            at = round((value - low) / (high - low) * (width - 1)) - size // 2
            placed.append((max(0, min(at, width - size)), label))
        fits = all(a + cell_len(text) + 1 <= b for (a, text), (b, _) in pairwise(placed))
        distinct = all(a != b for (_, a), (_, b) in pairwise(placed))
        if placed and fits and distinct and all(cell_len(text) <= width for _, text in placed):
            best = best or placed
            if not room or last_gap(placed, width, room) is not None:
                return placed
    return best


def last_gap(ticks: list[tuple[int, str]], width: int, room: int) -> int | None:
    """The column of the rightmost gap between labels that has ``room`` cells and a space on either side."""
    starts = [at for at, _ in ticks] + [width + 1]
    ends = [0] + [at + cell_len(text) for at, text in ticks]
    for start, end in zip(reversed(starts), reversed(ends), strict=True):
        if start - end >= room + 2:
            return start - room - 1
    return None


def _place_decades(axis: Axis, low: float, high: float, width: int) -> list[tuple[int, str]]:
    """Labels at powers of ten, and at 2 and 5 times them where there is room."""
    placed: list[tuple[int, str]] = []
    for mantissas in ((1, 2, 5), (1, 3), (1,)):
        placed = []
        for power in range(math.floor(low), math.ceil(high) + 1):
            for mantissa in mantissas:
                value = mantissa * 10.0**power
                share = (math.log10(value) - low) / (high - low)
                if not -1e-9 <= share <= 1 + 1e-9:
                    continue
                label = axis.label(value)
                at = round(share * (width - 1)) - cell_len(label) // 2
                placed.append((max(0, min(at, width - cell_len(label))), label))
        if all(a + cell_len(text) + 1 <= b for (a, text), (b, _) in pairwise(placed)):
            break
    kept: list[tuple[int, str]] = []
    for at, label in placed:
        free = not kept or kept[-1][0] + cell_len(kept[-1][1]) + 1 <= at
        if free and cell_len(label) <= width:
            kept.append((at, label))
    return kept
