"""The monitor screen on fabricated runs: what it shows at each size, its keys, and that it rests."""

import time

import pytest

from saetui.plots.palette import MARKERS
from saetui.tui.marks import Marks
from saetui.tui.run_follower import RunFollower
from saetui.tui.run_messages import JudgeRequested, RunControlRequested
from saetui.tui.screens.monitor import MonitorScreen
from saetui.tui.widgets.confirm import Confirm
from saetui.tui.widgets.line_plot import LinePlot
from tests.tui.fabricate import FakeRun, several_runs
from tests.tui.host import Host, until
from tests.tui.snapshot import check_snapshot, screen_text

SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def monitor(run, **options):
    return Host(MonitorScreen(run, interval=0.02, **options))


async def shown(pilot, text="of 26.2M"):
    await until(pilot, lambda: text in screen_text(pilot.app))
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_running(tmp_path, size):
    fake = FakeRun(tmp_path)
    fake.hold()
    fake.begin().early_probes().train(11_000_000)
    async with monitor(fake.run).run_test(size=size) as pilot:
        await shown(pilot)
        await until(pilot, lambda: "target" in screen_text(pilot.app))
        check_snapshot(pilot.app, f"monitor-{size[0]}x{size[1]}")


@pytest.mark.parametrize("symbols", ["block", "ascii"])
async def test_other_symbols(tmp_path, symbols):
    fake = FakeRun(tmp_path).begin().early_probes().train(26_200_000, per_record=262_144).finish()
    async with monitor(fake.run, symbols=symbols).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await until(pilot, lambda: "target" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "⠉" not in text and ("▀" in text) == (symbols == "block")
        check_snapshot(pilot.app, f"monitor-{symbols}")


async def test_failed_run_says_why(tmp_path):
    fake = FakeRun(tmp_path).begin().finish("failed", message="no token left after the filter")
    async with monitor(fake.run).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "✗ failed")
        assert "no token left after the filter" in screen_text(pilot.app)
        assert "no data" in screen_text(pilot.app)


async def test_new_records_appear_and_nothing_is_drawn_while_nothing_comes(tmp_path):
    fake = FakeRun(tmp_path)
    fake.hold()
    fake.begin().train(5_000_000)
    async with monitor(fake.run).run_test(size=(120, 40)) as pilot:
        await shown(pilot, "5M of 26.2M")
        screen = pilot.app.screen
        assert isinstance(screen, MonitorScreen)
        drawn: list[str] = []
        for plot in screen.query(LinePlot):
            draw = plot.draw
            plot.draw = lambda w, h, draw=draw, plot=plot: drawn.append(str(plot.id)) or draw(w, h)
        looks = []
        look = screen._poller._read
        screen._poller._read = lambda: (looks.append(1), look())[1]
        await until(pilot, lambda: len(looks) > 5)
        assert drawn == []
        fake.train(6_000_000)
        await shown(pilot, "6M of 26.2M")
        assert "plot-loss" in drawn


async def test_keys(tmp_path):
    fakes = several_runs(tmp_path)
    async with monitor(fakes[4].run).run_test(size=(120, 40)) as pilot:
        await shown(pilot)
        app = pilot.app
        assert isinstance(app, Host)
        await pilot.press("y")
        assert " log" in screen_text(app).split("\n")[2]
        await pilot.press("s")
        assert "ema 5 %" in screen_text(app)
        await pilot.press("s")
        assert "ema" not in screen_text(app)
        await pilot.press("a")
        assert "steps" in screen_text(app)
        await pilot.press("a")
        assert "wall time" in screen_text(app)
        await pilot.press("p", "r", "v")  # a run at work can be neither resumed nor judged
        assert [m.what for m in app.seen if isinstance(m, RunControlRequested)] == ["pause"]
        assert not any(isinstance(m, JudgeRequested) for m in app.seen)
        await pilot.press("x")
        assert isinstance(app.screen, Confirm)
        await pilot.press("n", "x", "y")
        await pilot.pause()
        controls = [m for m in app.seen if isinstance(m, RunControlRequested)]
        assert [m.what for m in controls] == ["pause", "stop"]
        assert controls[-1].run == fakes[4].run


async def test_what_can_be_done_follows_the_state(tmp_path):
    fake = FakeRun(tmp_path).begin().train(2_000_000)
    fake.hold()
    async with monitor(fake.run).run_test(size=(120, 40)) as pilot:
        app = pilot.app
        assert isinstance(app, Host)

        def offered():
            keys = screen_text(app).splitlines()[-1]
            return [word for word in ("Pause", "Resume", "Stop", "Verdict") if word in keys]

        await until(pilot, lambda: offered() == ["Pause", "Stop"])
        fake.finish("stopped")
        await until(pilot, lambda: offered() == ["Resume"])
        await pilot.press("r", "p", "x")
        assert [m.what for m in app.seen if isinstance(m, RunControlRequested)] == ["resume"]
        fake.event("launched")
        fake.event("running")
        fake.finish("finished")
        await until(pilot, lambda: offered() == ["Verdict"])
        await pilot.press("v")
        await pilot.pause()
        assert any(isinstance(m, JudgeRequested) for m in app.seen)


async def test_crosshair_is_shared_and_escape_takes_it_away(tmp_path):
    fake = FakeRun(tmp_path).begin().train(26_200_000, per_record=262_144).finish()
    async with monitor(fake.run).run_test(size=(120, 40)) as pilot:
        await shown(pilot)
        pilot.app.screen.query_one("#plot-loss").focus()
        await pilot.press("left", "left", "shift+left")
        text = screen_text(pilot.app)
        assert "loss @ " in text and "FVU @ " in text
        await pilot.press("escape")
        assert " @ " not in screen_text(pilot.app)
        assert isinstance(pilot.app.screen, MonitorScreen)
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, MonitorScreen)


async def test_zoom_and_back(tmp_path):
    fake = FakeRun(tmp_path).begin().train(26_200_000, per_record=262_144).finish()
    async with monitor(fake.run).run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("z")
        await until(pilot, lambda: "FVU" not in screen_text(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: "FVU" in screen_text(pilot.app))


async def test_frozen_display_holds_still_and_catches_up(tmp_path):
    fake = FakeRun(tmp_path).begin().train(5_000_000)
    fake.hold()
    async with monitor(fake.run).run_test(size=(120, 40)) as pilot:
        await shown(pilot, "5M of 26.2M")
        await pilot.press("space")
        fake.train(9_000_000)
        screen = pilot.app.screen
        assert isinstance(screen, MonitorScreen)
        await until(pilot, lambda: screen._pending is not None)
        assert "5M of 26.2M" in screen_text(pilot.app) and "paused" in screen_text(pilot.app)
        await pilot.press("space")
        assert "9M of 26.2M" in screen_text(pilot.app)


async def test_overlay_and_neighbouring_runs(tmp_path):
    fakes = several_runs(tmp_path)
    async with monitor(fakes[4].run).run_test(size=(120, 40)) as pilot:
        await shown(pilot)
        await pilot.press("o")
        await until(pilot, lambda: "Lay over" in screen_text(pilot.app))
        await pilot.press("end", "space", "enter")
        await until(pilot, lambda: "abc" in screen_text(pilot.app))
        legend = screen_text(pilot.app).split("\n")[2]
        assert "k7q" in legend and "abc" in legend and "mse" not in legend
        await pilot.press("o", "end", "space", "enter")  # and away again
        await until(pilot, lambda: "mse" in screen_text(pilot.app))
        assert not pilot.app.content.marks.runs
        await pilot.press("left_square_bracket")
        await shown(pilot, "crashed")
        await pilot.press("right_square_bracket")
        await shown(pilot, "running")
        await pilot.press("right_square_bracket")
        await shown(pilot, "queued")
        assert "next" in screen_text(pilot.app) or "ahead" in screen_text(pilot.app)


async def test_a_run_has_one_colour_and_sign_in_the_list_its_monitor_and_the_curves(tmp_path):
    fakes = several_runs(tmp_path)
    own, first, last = (fake.run.id for fake in (fakes[4], fakes[0], fakes[1]))
    marks = Marks()
    marks.toggle(first)
    screen = MonitorScreen(fakes[4].run, interval=0.02, marks=marks)
    async with Host(screen).run_test(size=(120, 40)) as pilot:
        await shown(pilot)
        await pilot.press("o")
        # What the list of runs has marked is chosen already.
        await until(pilot, lambda: f"{sign(marks, first)}  {first}" in screen_text(pilot.app))
        await pilot.press("end", "up", "space", "enter")
        await until(pilot, lambda: "abc" in screen_text(pilot.app).split("\n")[2])
        legend = screen_text(pilot.app).split("\n")[2]
        assert set(marks.runs) == {first, last, own}
        assert all(f"{sign(marks, run)}{run[-3:]}" in legend for run in marks.runs)
        (plot,) = screen.query("#plot-loss")
        assert {t.label: t.colour for t in plot.model.traces} == {
            run[-3:]: marks.colour(run) for run in marks.runs
        }
        # The mark is taken away elsewhere: the run goes from the plots with it.
        marks.toggle(last)
        await pilot.app.push_screen(Confirm("?"))
        await pilot.press("n")
        await until(pilot, lambda: "def" not in screen_text(pilot.app).split("\n")[2])
        assert [run.id for run in screen._looker.laid_over] == [first]


def sign(marks, run):
    return MARKERS["braille"][marks.colour(run)]


def test_a_run_that_must_be_marked_takes_the_last_mark_where_none_is_left():
    marks = Marks()
    for k in range(Marks.MOST):
        marks.toggle(f"run {k}")
    marks.ensure("own")
    assert marks.runs == [*(f"run {k}" for k in range(Marks.MOST - 1)), "own"]


async def test_log_file(tmp_path):
    fake = FakeRun(tmp_path).begin()
    fake.run.log_path.write_text("loading\n10%\r50%\r100%\n\x1b[31mred\n")
    async with monitor(fake.run).run_test(size=(80, 24)) as pilot:
        await pilot.press("L")
        await until(pilot, lambda: "loading" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "100%" in text and "50%" not in text and "␛[31mred" in text
        with fake.run.log_path.open("a") as log:
            log.write("more\n")
        await until(pilot, lambda: "more" in screen_text(pilot.app))
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, MonitorScreen)


async def test_hidden_monitor_does_not_look(tmp_path):
    fake = FakeRun(tmp_path).begin()
    async with monitor(fake.run).run_test(size=(80, 24)) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, MonitorScreen)
        await until(pilot, lambda: screen.view is not None)
        await pilot.app.push_screen(Confirm("?"))
        assert not screen._poller._active.is_set()
        await pilot.press("n")
        await until(pilot, lambda: screen._poller._active.is_set())


@pytest.mark.parametrize("width", [20, 40, 59])
async def test_tiny_terminals(tmp_path, width):
    fake = FakeRun(tmp_path).begin().early_probes().train(5_000_000).finish()
    async with monitor(fake.run).run_test(size=(width, 10)) as pilot:
        await shown(pilot, "✓ finished")


def test_follower_reads_only_what_is_new_and_rewinds(tmp_path):
    fake = FakeRun(tmp_path).begin().train(2_000_000)
    follower = RunFollower(fake.run)
    assert follower.poll() and not follower.poll()
    first = follower.snapshot
    assert first and first.status.tokens == 2_000_000
    fake.metric(kind="resumed", tokens=1_000_000)
    fake.metric(tokens=1_100_000, step=268, loss=None, dead=0.25)
    with fake.run.metrics_path.open("a") as file:
        file.write("not a record\n")
    assert follower.poll()
    second = follower.snapshot
    assert second and second.series["loss"].xs[-1][0] == 1_100_000
    assert second.series["loss"].bad == 1 and second.corrupt == 1
    assert second.series["dead"].last == 25.0
    assert first.series["loss"].xs[-1][0] == 2_000_000
    assert second.series["loss"] is not first.series["loss"]
    fake.event("note", message="nothing numeric")
    assert follower.poll() and follower.snapshot
    assert follower.snapshot.series["loss"] is second.series["loss"]


def test_a_target_is_seen_being_replaced(tmp_path):
    fake = FakeRun(tmp_path).begin().early_probes().train(5_000_000)
    follower = RunFollower(fake.run)
    follower.poll()
    assert follower.snapshot
    probe = follower.snapshot.probes[0]
    line = probe.target.smoothed(0.0)
    assert line[0] > 4 and line[-1] < 0.1
    assert max(probe.now, key=lambda f: probe.now[f]) == 711
    assert probe.features[711].smoothed(0.0)[-1] > 4


async def test_records_of_another_program_do_no_harm(tmp_path):
    fake = FakeRun(tmp_path).begin()
    fake.metric(tokens="many", step=None, loss="low", mse=[1], probes=[])
    fake.metric(tokens=4096, step=1, loss=0.5, mse=None, fvu=None)
    async with monitor(fake.run).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "0.500")
        assert "1 NaN!" in screen_text(pilot.app)


async def test_a_failing_look_is_not_silent(tmp_path):
    fake = FakeRun(tmp_path).begin()
    app = monitor(fake.run)
    with pytest.raises(ZeroDivisionError):
        async with app.run_test(size=(80, 24)) as pilot:
            screen = pilot.app.screen
            assert isinstance(screen, MonitorScreen)
            screen._poller._read = lambda: 1 / 0
            screen._poller.look_now()
            await until(pilot, lambda: pilot.app._exception is not None)
