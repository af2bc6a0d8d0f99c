"""The list of runs: states, sorting, filter, and what it asks of the application."""

import pytest

from saetui.runs.status import RunStatus
from saetui.tui.run_messages import JudgeRequested, MonitorRequested, RunControlRequested
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.runs import RunsScreen
from saetui.tui.widgets.table import Table
from tests.tui.fabricate import FakeRun, several_runs
from tests.tui.host import Host, until
from tests.tui.snapshot import check_snapshot, screen_text

SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_list(tmp_path, monkeypatch, size):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    several_runs(Path("runs"))
    async with Host(RunsScreen(RunWatch(Path("runs")), interval=0.02)).run_test(size=size) as pilot:
        await until(pilot, lambda: "queued" in screen_text(pilot.app))
        check_snapshot(pilot.app, f"runs-{size[0]}x{size[1]}")


async def test_no_runs(tmp_path):
    async with Host(RunsScreen(RunWatch(tmp_path / "none"), interval=0.02)).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "0 runs" in screen_text(pilot.app))
        assert "no runs yet" in screen_text(pilot.app)
        await pilot.press("enter", "p", "x", "v", "L")


async def test_keys_are_about_the_run_under_the_cursor(tmp_path):
    several_runs(tmp_path)
    async with Host(RunsScreen(RunWatch(tmp_path), interval=0.02)).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "queued" in screen_text(pilot.app))
        app = pilot.app
        assert isinstance(app, Host)
        await pilot.press("down", "p", "v", "enter")
        await pilot.press("x", "y")
        await until(pilot, lambda: len([m for m in app.seen if isinstance(m, RunControlRequested)]) == 2)
        messages = [
            m for m in app.seen if isinstance(m, (RunControlRequested, JudgeRequested, MonitorRequested))
        ]
        assert {m.run.id for m in messages} == {"1122-1403-f240-k7q"}
        assert [m.what for m in messages if isinstance(m, RunControlRequested)] == ["pause", "stop"]
        assert any(isinstance(m, MonitorRequested) for m in messages)


async def test_sort_and_filter_keep_the_cursor_on_its_run(tmp_path):
    several_runs(tmp_path)
    async with Host(RunsScreen(RunWatch(tmp_path), interval=0.02)).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "queued" in screen_text(pilot.app))
        table: Table[RunStatus] = pilot.app.screen.query_one(Table)
        await pilot.press("end")
        assert table.highlighted and table.highlighted.id == "1122-0911-f240-abc"
        table.sort_by("loss")
        assert table.highlighted and table.highlighted.id == "1122-0911-f240-abc"
        losses = [row.loss for row in table.rows if row.loss is not None]
        assert losses == sorted(losses) and table.rows[-1].loss is None
        await pilot.press("slash", *"fail", "enter")
        assert [row.state for row in table.rows] == ["failed"]
        await pilot.press("p")  # the filter is kept, and keys are keys again
        assert table.filter_text == "fail"
        await pilot.press("escape")
        assert len(table.rows) == 6


def test_a_quiet_list_is_not_handed_over_again(tmp_path):
    fake = FakeRun(tmp_path).begin().train(1_000_000).finish()
    watch = RunWatch(tmp_path)
    assert watch.poll() == 1 and watch.runs[0].status.state == "finished"
    assert watch.poll() == 1
    fake.run.judgements_path.write_text("")
    fake.event("note")
    (tmp_path / "no-run").mkdir()
    assert watch.poll() == 1
    FakeRun(tmp_path, "1122-1503-f240-bbb").begin()
    assert watch.poll() == 2 and len(watch.runs) == 2


def test_the_first_look_at_no_runs_is_news(tmp_path):
    watch = RunWatch(tmp_path / "none")
    assert watch.poll() == 1 and watch.runs == []
    assert watch.poll() == 1


async def test_a_list_opened_on_runs_that_are_known_shows_them(tmp_path):
    FakeRun(tmp_path).begin()
    watch = RunWatch(tmp_path)
    watch.poll()
    async with Host(RunsScreen(watch, interval=0.02)).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "1 runs" in screen_text(pilot.app))


async def test_a_folder_that_cannot_be_read_is_told_once_and_found_again(tmp_path, monkeypatch):
    FakeRun(tmp_path).begin()
    watch = RunWatch(tmp_path)
    poll, looks = watch.poll, []

    def away():
        looks.append(1)
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(watch, "poll", away)
    async with Host(RunsScreen(watch, interval=0.02)).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: len(looks) > 3)
        assert [n.message for n in pilot.app._notifications] == [
            f"[Errno 13] Permission denied: '{tmp_path}'"
        ]
        monkeypatch.setattr(watch, "poll", poll)
        await until(pilot, lambda: "1 runs" in screen_text(pilot.app))


async def test_a_run_is_deleted_only_by_y_and_the_list_says_what_goes_with_it(tmp_path):
    several_runs(tmp_path)
    paused = FakeRun(tmp_path, "1122-0805-f240-zzz", created=1).begin().finish("paused")
    async with Host(RunsScreen(RunWatch(tmp_path), interval=0.02)).run_test(
        size=(80, 24), notifications=True
    ) as pilot:
        await until(pilot, lambda: "7 runs" in screen_text(pilot.app))
        app = pilot.app
        await pilot.press("end", "x")  # what does not run cannot be stopped, and what can be done is said
        assert "is paused: there is nothing to stop · D deletes it" in list(app._notifications)[-1].message
        await pilot.press("D")
        await until(pilot, lambda: "Delete for good: 1 run" in screen_text(app))
        assert paused.run.id in screen_text(app) and "y delete   n keep" in screen_text(app)
        await pilot.press("enter")
        assert "Delete for good" in screen_text(app)  # by habit: no answer
        await pilot.press("n")
        assert paused.run.folder.exists()
        await pilot.press("D")
        await until(pilot, lambda: "Delete for good" in screen_text(app))
        await pilot.press("y")
        await until(pilot, lambda: "6 runs" in screen_text(app))
        assert not paused.run.folder.exists()


async def test_all_marked_runs_are_deleted_or_none_where_one_is_at_work(tmp_path):
    several_runs(tmp_path)
    screen = RunsScreen(RunWatch(tmp_path), interval=0.02)
    async with Host(screen).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: "6 runs" in screen_text(pilot.app))
        app = pilot.app
        await pilot.press("down", "space", "space", "D")  # a running and a crashed one
        await until(pilot, lambda: bool(app._notifications))
        (said,) = app._notifications
        assert "1122-1403-f240-k7q is running: it can be deleted once it is stopped" in said.message
        await pilot.press("up", "up", "space", "down", "space", "D")
        await until(pilot, lambda: "Delete for good: 2 runs" in screen_text(app))
        await pilot.press("y")
        await until(pilot, lambda: "4 runs" in screen_text(app))
        assert not screen.marks.runs


async def test_what_tells_runs_apart_fits_the_narrow_screen(tmp_path):
    fake = FakeRun(tmp_path, "1122-1403-f240-k7q", loss="standard").begin()
    fake.metric(tokens=1000, fvu=0.09531, l0=31.25, eta_s=7500)
    fake.hold()
    FakeRun(tmp_path, "1122-1404-f240-abc", graft=True).begin().finish()
    async with Host(RunsScreen(RunWatch(tmp_path), interval=0.02)).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "2 runs" in screen_text(pilot.app))
        lines = [" ".join(line.split()) for line in screen_text(pilot.app).splitlines()]
        assert "▶ running 1122-1403-f240-k7q split real 0.0953 2h05m" in lines
        assert "▸ ✓ finished 1122-1404-f240-abc graft real" in lines
