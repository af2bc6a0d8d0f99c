"""Curves of several runs in one plot: marks, what can be compared, and the screen on fabricated runs."""

import math

import pytest

from saetui.plots.palette import MARKERS
from saetui.tui.curves import curves, plan, traces
from saetui.tui.marks import Marks
from saetui.tui.run_follower import RunFollower
from saetui.tui.run_messages import CurvesRequested, MonitorRequested
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.curves import CurvesScreen
from saetui.tui.screens.runs import RunsScreen
from saetui.tui.widgets.line_plot import LinePlot
from saetui.tui.widgets.table import Table
from tests.tui.fabricate import FakeRun, several_runs
from tests.tui.host import Host, until
from tests.tui.snapshot import check_snapshot, screen_text

SIZES = [(80, 24), (120, 40), (200, 60)]


def marked(*runs: str) -> Marks:
    marks = Marks()
    for run in runs:
        marks.toggle(run)
    return marks


def snapshot(fake: FakeRun):
    follower = RunFollower(fake.run)
    follower.poll()
    assert follower.snapshot
    return follower.snapshot


def screen(root, *runs: str) -> CurvesScreen:
    return CurvesScreen(root, marked(*runs), interval=0.02)


# -- marks


def test_a_run_keeps_its_colour_and_has_the_same_one_tomorrow():
    marks = marked("a", "b", "c")
    before = [marks.colour(run) for run in "abc"]
    assert len(set(before)) == 3
    marks.toggle("a")
    assert marks.colour("a") is None and [marks.colour(run) for run in "bc"] == before[1:]
    assert [marked("c").colour("c"), marked("b").colour("b")] == before[:0:-1]


def test_there_are_as_many_marks_as_colours():
    marks = Marks()
    assert all(marks.toggle(f"run {k}") for k in range(Marks.MOST))
    assert not marks.toggle("one more") and len(marks) == Marks.MOST
    assert marks.toggle("run 0") and marks.toggle("one more")
    assert {marks.colour(run) for run in marks.runs} == set(range(Marks.MOST))


# -- what is compared


def test_the_leading_child_is_the_strongest_feature_but_the_target(tmp_path):
    top = [[240, 4.0], [711, 1.5], [97, 0.5]]
    probes = [{"prompt": "low-", "token": "-", "target": 4.0, "top": top}]
    leaders = []
    for name, init in (("1122-1403-f240-aaa", "narrow"), ("1122-1403-f240-bbb", "random")):
        fake = FakeRun(tmp_path, name, init=init).begin()
        fake.metric(tokens=4096, step=1, probes=probes)
        found = snapshot(fake)
        (curve,) = curves([found])
        assert curve.name == "child on low«-»"
        series = curve.series(found)
        assert series is not None
        leaders.append(series.last)
    assert leaders == [1.5, 4.0], "from random initialisation feature 240 is a child like any other"


def test_the_f1_of_each_child_and_their_mean(tmp_path):
    fake = FakeRun(tmp_path).begin()
    children = [{"child": "count", "feature": 3, "f1": 0.5}, {"child": "number", "feature": 9, "f1": 1.0}]
    fake.metric(eval=True, tokens=4096, step=1, fvu=0.5, children=children)
    found = snapshot(fake)
    last = {c.name: series.last for c in curves([found]) if (series := c.series(found))}
    assert last == {"FVU held out": 0.5, "child F1": 0.75, "F1 count": 0.5, "F1 number": 1.0}


def test_a_resumed_run_repeats_its_leaders(tmp_path):
    fake = FakeRun(tmp_path).begin()
    for tokens, strongest in ((1000, 1.0), (2000, 2.0), (3000, 3.0)):
        fake.metric(tokens=tokens, probes=[{"prompt": "a", "token": "-", "top": [[7, strongest]]}])
    fake.metric(kind="resumed", tokens=1000)
    fake.metric(tokens=2000, probes=[{"prompt": "a", "token": "-", "top": [[7, 9.0]]}])
    (probe,) = snapshot(fake).probes
    assert [x[0] for x in probe.leader.xs] == [1000, 2000] and probe.leader.sums == [1.0, 9.0]


def test_runs_of_unlike_lengths_share_the_longest_axis(tmp_path):
    short = snapshot(FakeRun(tmp_path, "a", tokens=1_000_000).begin().train(1_000_000))
    long = snapshot(FakeRun(tmp_path, "b", tokens=9_000_000).begin().train(500_000))
    assert plan([short, long])[0] == (0.0, 9e6)
    assert plan([]) == (None, None, None)


def test_a_run_without_the_metric_has_no_line(tmp_path):
    wide = snapshot(FakeRun(tmp_path, "a").begin().train(1_000_000))
    graft = snapshot(FakeRun(tmp_path, "b", graft=True).begin())
    graft_only = next(c for c in curves([wide, graft]) if c.name == "L0")
    assert [t.label for t in traces(graft_only, [wide, graft], marked("a", "b"))] == ["a"]


# -- the screen


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_two_runs(tmp_path, size):
    several_runs(tmp_path)
    names = ("1122-0911-f240-abc", "1122-1013-f240-def", "1122-1403-f240-k7q")
    async with Host(screen(tmp_path, *names)).run_test(size=size) as pilot:
        await until(pilot, lambda: "stopped" in screen_text(pilot.app))
        await pilot.press("tab", "tab")
        check_snapshot(pilot.app, f"curves-{size[0]}x{size[1]}")


async def test_nothing_is_marked(tmp_path):
    several_runs(tmp_path)
    async with Host(screen(tmp_path)).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "no run is marked" in screen_text(pilot.app))
        await pilot.press("tab", "a", "y", "s", "left", "space", "enter")
        await pilot.press("o", "space", "down", "space", "enter")
        await until(pilot, lambda: len(pilot.app.screen.query_one(Table).rows) == 2)
        assert isinstance(pilot.app.screen, CurvesScreen)
        await pilot.press("space")
        await until(pilot, lambda: len(pilot.app.screen.query_one(Table).rows) == 1)


async def test_the_curve_shown_stays_when_another_run_brings_others(tmp_path):
    FakeRun(tmp_path, "a").begin().train(2_000_000).finish()
    FakeRun(tmp_path, "b", graft=True).begin()
    page = screen(tmp_path, "a")
    async with Host(page).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "finished" in screen_text(pilot.app))
        plot = page.query_one(LinePlot)
        await pilot.press("shift+tab")
        assert plot.model.title.startswith("child on") and plot.model.axes[0].log
        page.marks.toggle("b")
        await until(pilot, lambda: len(page.query_one(Table).rows) == 2)
        assert plot.model.title.startswith("child on")
        await pilot.press("tab")
        assert plot.model.title == "loss" and not plot.model.axes[0].log


async def test_the_crosshair_reads_values_off_and_escape_puts_it_away_first(tmp_path):
    FakeRun(tmp_path, "a").begin().train(2_000_000).finish()
    page = screen(tmp_path, "a")
    async with Host(page).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "finished" in screen_text(pilot.app))
        await pilot.press("left", "left")
        assert "loss @ " in screen_text(pilot.app)
        await pilot.press("escape")
        assert "loss @ " not in screen_text(pilot.app) and pilot.app.screen is page
        await pilot.press("enter")
        assert any(isinstance(m, MonitorRequested) and m.run.id == "a" for m in pilot.app.seen)
        await pilot.press("escape")
        assert pilot.app.screen is not page


async def test_a_live_run_grows_and_a_damaged_one_is_named(tmp_path):
    fake = FakeRun(tmp_path, "a")
    fake.hold()
    fake.begin().train(1_000_000)
    FakeRun(tmp_path, "b").begin()
    (tmp_path / "b" / "manifest.json").write_text("{}")
    page = screen(tmp_path, "a", "b")
    async with Host(page).run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "running" in screen_text(pilot.app))
        await until(pilot, lambda: "manifest.json" in screen_text(pilot.app))
        fake.metric(tokens=1_200_000, step=300, loss=math.nan)
        await until(pilot, lambda: "1 NaN!" in screen_text(pilot.app))
        assert len(pilot.app._notifications) == 1, "once, though the other run goes on"


async def test_marked_in_the_runs_list(tmp_path):
    several_runs(tmp_path)
    marks = Marks()
    async with Host(RunsScreen(RunWatch(tmp_path), interval=0.02, marks=marks)).run_test(
        size=(80, 24)
    ) as pilot:
        await until(pilot, lambda: "queued" in screen_text(pilot.app))
        await pilot.press("down", "space", "space", "o")
        await until(pilot, lambda: any(isinstance(m, CurvesRequested) for m in pilot.app.seen))
        assert len(marks) == 2
        lines = screen_text(pilot.app).splitlines()
        shown = [line for line in lines if line[2:3] and line[2] in MARKERS["braille"]]
        assert [line.split()[3] for line in shown] == marks.runs, "the sign stands beside its run"


async def test_the_curves_of_the_run_under_the_cursor(tmp_path):
    several_runs(tmp_path)
    marks = Marks()
    async with Host(RunsScreen(RunWatch(tmp_path), interval=0.02, marks=marks)).run_test(
        size=(80, 24)
    ) as pilot:
        await until(pilot, lambda: "queued" in screen_text(pilot.app))
        await pilot.press("down", "o")
        assert marks.runs == ["1122-1403-f240-k7q"]
