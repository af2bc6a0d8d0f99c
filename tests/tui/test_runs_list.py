"""The list of runs: states, sorting, filter, and what it asks of the application."""

import pytest

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
        table = pilot.app.screen.query_one(Table)
        await pilot.press("end")
        assert table.highlighted.id == "1122-0911-f240-abc"
        table.sort_by("loss")
        assert table.highlighted.id == "1122-0911-f240-abc"
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
