"""The line plot's model: what it keeps of the data, and that it draws any of them at any size."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from saetui.plots import axes
from saetui.plots.axes import STEPS, TOKENS, WALL
from saetui.tui.widgets.plot_model import PlotModel, Trace
from saetui.tui.widgets.series import Series

ANY = st.floats(allow_nan=True, allow_infinity=True)


def series(values, step=1.0):
    out = Series()
    for i, value in enumerate(values):
        out.append((i * step,), value)
    return out


def rows_of(grid):
    return grid.plain().split("\n")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(ANY, max_size=40), min_size=0, max_size=3),
    st.integers(-1, 60),
    st.integers(-1, 20),
    st.booleans(),
    st.sampled_from(["braille", "block", "ascii"]),
    st.sampled_from([0.0, 0.02]),
    st.one_of(st.none(), ANY.filter(math.isfinite)),
)
def test_draws_anything_at_any_size(lines, width, height, log, symbols, smoothing, crosshair):
    traces = [Trace(f"t{i}", series(values), i) for i, values in enumerate(lines)]
    model = PlotModel("title", traces, log=log, symbols=symbols, smoothing=smoothing, crosshair=crosshair)
    grid = model.draw(width, height)
    rows = rows_of(grid) if grid.height else []
    assert len(rows) == max(height, 0)
    assert all(cell_len(row) == max(width, 0) for row in rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(-1e6, 1e6)), min_size=2, max_size=30))
def test_crosshair_walks_over_any_data(points):
    line = Series()
    for x, y in points:
        line.append((x,), y)
    model = PlotModel("t", [Trace("t", line)])
    for by in (-1, -1, 5, -100, 100):
        x = model.step_crosshair(by, 40, 10)
        assert x is not None and math.isfinite(x)
        model.draw(40, 10)


def test_buckets_keep_count_sum_and_extremes():
    rng = random.Random(0)
    values = [rng.gauss(0, 1) for _ in range(10_000)]
    line = series(values)
    assert len(line) <= line.capacity
    assert sum(line.counts) == len(values)
    assert math.isclose(sum(line.sums), sum(values), abs_tol=1e-6)
    assert min(line.minima) == min(values)
    assert max(line.maxima) == max(values)
    assert line.xs == sorted(line.xs) and line.xs[-1] == (9999.0,)


def test_average_is_debiased_and_exact_while_buckets_hold_one_point():
    values = [3.0, 5.0, 4.0, 8.0]
    length = -1 / math.log(0.9)
    average = weight = 0.0
    expected = []
    for value in values:
        average = 0.9 * average + 0.1 * value
        weight = 0.9 * weight + 0.1
        expected.append(average / weight)
    assert series(values).smoothed(length) == pytest.approx(expected)
    assert series(values).smoothed(length)[0] == pytest.approx(3.0)
    assert series(values).smoothed(0.0) == values


def test_average_forgets_by_distance_not_by_the_number_of_records():
    """A run that reports ten times as often is smoothed over the same stretch."""
    curve = lambda x: 100 * math.exp(-x / 2000) + 7  # noqa: E731
    often, seldom = Series(8192), Series(8192)
    for x in range(8000):
        often.append((float(x),), curve(x))
        if x % 10 == 0:
            seldom.append((float(x),), curve(x))
    assert often.smoothed(200)[-10] == pytest.approx(seldom.smoothed(200)[-1], rel=0.01)
    few = series([200.0, 150.0, 90.0, 60.0], step=10_000)
    assert few.smoothed(1000) == pytest.approx([200.0, 150.0, 90.0, 60.0], rel=0.001)


def test_average_survives_merging():
    values = [100 * math.exp(-i / 2000) + 7 for i in range(8000)]
    average = weight = 0.0
    for value in values:
        average = 0.98 * average + 0.02 * value
        weight = 0.98 * weight + 0.02
    assert series(values).smoothed(-1 / math.log(0.98))[-1] == pytest.approx(average / weight, rel=0.02)


def test_what_was_not_reported_is_a_gap_and_no_alarm():
    line = series([1.0, 2.0])
    line.gap((2.0,))
    line.append((3.0,), math.nan)
    line.append((4.0,), 2.0)
    assert line.bad == 1 and line.smoothed(0.0)[2:4] == pytest.approx([math.nan] * 2, nan_ok=True)
    assert "1 NaN!" in rows_of(PlotModel("t", [Trace("t", line)]).draw(60, 8))[0]


def test_a_resumed_run_replaces_the_stretch_since_its_checkpoint():
    line = series([9.0] * 10)
    line.rewind(4)
    assert [x[0] for x in line.xs] == [0, 1, 2, 3, 4]
    line.append((5.0,), 1.0)
    assert line.smoothed(0.0)[-1] == 1.0
    line.append((2.0,), 5.0)  # and a step back without notice does the same
    assert [x[0] for x in line.xs] == [0, 1, 2, 2.0]


def test_copy_stands_still():
    line = series([1.0, 2.0])
    frozen = line.copy()
    line.append((2.0,), 3.0)
    assert len(frozen) == 2 and frozen.last == 2.0


def test_nan_is_a_gap_outside_the_bounds_and_is_counted():
    values = [1.0] * 20 + [math.nan] * 20 + [1.0] * 20 + [math.inf]
    grid = PlotModel("loss", [Trace("loss", series(values))], domains=((0.0, 60.0),)).draw(80, 8)
    line = next(row for row in rows_of(grid)[1:-1] if "⠉" in row or "⠒" in row or "⠤" in row or "⣀" in row)
    assert "   " in line.split("┤")[-1].split("│")[-1].strip()
    assert "21 NaN!" in rows_of(grid)[0]
    assert "inf" not in grid.plain() and "nan" not in grid.plain()


def test_log_scale_needs_a_positive_value():
    nothing = PlotModel("x", [Trace("x", series([0.0, -1.0]))], log=True).draw(60, 8)
    assert "log: none > 0" in nothing.plain()
    some = PlotModel("x", [Trace("x", series([0.0, 1e-4, 1e4]))], log=True).draw(60, 12)
    assert "log" in rows_of(some)[0] and "10k" in some.plain()


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(6, 120), st.integers(3, 40))
def test_labels_never_pile_up(low, size, width, height):
    grid = PlotModel("t", [Trace("t", series([low, low + size], step=size))]).draw(width, height)
    labels = [row.split("┤")[0].strip() for row in rows_of(grid) if "┤" in row]
    assert len(labels) == len(set(labels))
    placed = axes.place_x_ticks(TOKENS, low, low + size, width)
    for (a, text), (b, other) in pairwise(placed):
        assert a + cell_len(text) < b and text != other
    assert all(at >= 0 and at + cell_len(text) <= width for at, text in placed)


def test_bounds_are_round_and_stay_put():
    assert axes.linear_bounds(0.3, 9.2)[:2] == (0, 10)
    assert axes.linear_bounds(0.4, 9.1) == axes.linear_bounds(0.3, 9.2)
    assert axes.linear_bounds(0, 0)[:2] == (0, 1)
    assert axes.log_bounds(0.03, 80) == pytest.approx((0.02, 100))


def test_axis_has_the_planned_budget_and_widens_beyond_it():
    assert axes.x_bounds(TOKENS, 0, 5, (0.0, 100.0)) == (0.0, 100.0)
    assert axes.x_bounds(TOKENS, 0, 150, (0.0, 100.0))[1] >= 150
    assert axes.x_bounds(WALL, 3, 125, None) == (0, 135)


def test_turning_the_x_axis_keeps_the_line():
    line = Series()
    for i in range(100):
        line.append((i * 4096.0, float(i), i * 2.0), 100 - i)
    model = PlotModel("loss", [Trace("loss", line)], axes=(TOKENS, STEPS, WALL), domains=(None,) * 3)
    shown = []
    for axis in range(3):
        model.axis = axis
        shown.append(model.draw(60, 10).plain())
    assert "400k" in shown[0] and "100" in shown[1] and "3m" in shown[2]


def test_crosshair_reads_values_and_the_raw_range():
    line = Series(capacity=4)
    for i in range(8):
        line.append((float(i),), float(i))
    model = PlotModel("loss", [Trace("loss", line)], crosshair=7.0)
    assert "[6.00…7.00]" in rows_of(model.draw(60, 8))[0]


def test_values_under_the_crosshair_are_there_in_forty_columns():
    lines = [Trace(n, series([1.5 + i, 2.5, 3.5]), i) for i, n in enumerate(("loss", "mse", "abc", "def"))]
    model = PlotModel("loss", lines, log=True, smoothing=0.02, crosshair=0.0)
    legend = rows_of(model.draw(40, 10))[0]
    assert all(value in legend for value in ("1.50", "2.50", "3.50", "4.50")), legend


def test_several_lines_differ_without_colour():
    lines = [Trace(name, series([i + 1.0] * 50), i) for i, name in enumerate(("loss", "mse", "l1"))]
    for symbols, signs in (("braille", "●▲■"), ("ascii", "ox+")):
        body = "\n".join(rows_of(PlotModel("t", lines, symbols=symbols).draw(60, 12))[1:])  # type: ignore[arg-type]
        assert all(sign in body for sign in signs)


def test_only_changed_cells_are_sent_while_a_line_grows():
    line = series([5 + math.sin(i / 9) for i in range(100)], step=100.0)
    model = PlotModel("loss", [Trace("loss", line)], domains=((0.0, 30_000.0),))
    before = model.draw(100, 20)
    line.append((10_000.0,), 5.1)
    changed = sum(width for _, _, width in model.draw(100, 20).changes(before))
    assert 0 < changed < 40
