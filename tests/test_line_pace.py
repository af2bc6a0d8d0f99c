"""Lines of progress in a pipe: a few soon, then few; never long silence."""

import io
from itertools import pairwise

import pytest

from saetui.commands.reading import Reading
from saetui.line_pace import LinePace


def times_of_lines(pace: LinePace, clock: list[float], seconds: float) -> list[float]:
    said: list[float] = []
    while clock[0] < seconds:
        clock[0] += 0.125
        if pace.due():
            said.append(clock[0])
    return said


def test_a_few_lines_soon_and_then_one_every_fifteen_seconds() -> None:
    clock = [0.0]
    said = times_of_lines(LinePace(clock=lambda: clock[0]), clock, 3600.0)
    gaps = [after - before for before, after in pairwise(said)]
    assert said[0] < 1 and gaps[:3] == [5.0] * 3 and set(gaps[3:]) == {15.0}


def test_what_is_done_at_once_says_nothing_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = [0.0], io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    reading = Reading(clock=lambda: clock[0])
    for read in range(0, 4000, 10):
        clock[0] += 0.01
        reading(read, 10_000)
    assert stream.getvalue() == ""
    for read in range(4000, 10_000, 10):
        clock[0] += 0.1
        reading(read, 10_000)
    reading.end()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6 and all(line.startswith("reading the corpus: ") for line in lines)


def test_a_comparison_tells_how_long_it_still_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = [0.0], io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    reading = Reading(clock=lambda: clock[0])
    for second in range(60):
        clock[0] = second
        reading.share("comparing: {} of {} targets", second / 100, 10)
    first, *_, last = stream.getvalue().splitlines()
    assert first == "comparing: 0 of 10 targets, about 16m35s to go"
    assert last.startswith("comparing: 0 of 10 targets, about 15m")
