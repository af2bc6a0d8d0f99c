"""Screens that show a run while another workbench deletes it: they say so and stay."""

from pathlib import Path

from saetui.runs.store import remove_run
from saetui.tui.marks import Marks
from saetui.tui.screens.curves import CurvesScreen
from saetui.tui.screens.monitor import MonitorScreen
from saetui.tui.screens.study import StudyScreen
from tests.tui.fabricate import FakeRun
from tests.tui.fabricate_study import half_done
from tests.tui.host import Host, until
from tests.tui.snapshot import screen_text


async def test_the_monitor_keeps_what_it_has_read_and_says_that_the_run_is_gone(tmp_path: Path) -> None:
    run = FakeRun(tmp_path).begin().train(2_000_000).finish("paused").run
    async with Host(MonitorScreen(run, interval=0.02)).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "loss" in screen_text(pilot.app))
        remove_run(run)
        await until(pilot, lambda: f"{run.id} has been deleted" in screen_text(pilot.app))
        await pilot.press("o", "left_square_bracket", "L", "escape", "r")
        assert isinstance(pilot.app.screen, MonitorScreen)


async def test_curves_go_on_with_the_other_runs(tmp_path: Path) -> None:
    runs = [FakeRun(tmp_path, f"1122-140{k}-f240-abc").begin().train(2_000_000).finish().run for k in (1, 2)]
    marks = Marks()
    for run in runs:
        marks.toggle(run.id)
    screen = CurvesScreen(tmp_path, marks, interval=0.02)
    async with Host(screen).run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: all(run.id in screen_text(pilot.app) for run in runs))
        remove_run(runs[0])
        await until(pilot, lambda: any("deleted" in n.message for n in pilot.app._notifications))
        assert runs[1].id in screen_text(pilot.app)


async def test_a_cell_whose_run_is_deleted_waits_for_another(tmp_path: Path) -> None:
    fake = half_done(tmp_path)
    async with Host(StudyScreen(fake.study, Marks(), interval=0.02)).run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "2 of 6 finished" in screen_text(pilot.app))
        remove_run(fake.study.runs()["narrow.f240.s1"])
        await until(pilot, lambda: "1 of 6 finished" in screen_text(pilot.app))
        await pilot.press("enter", "v", "R", "space")
        assert "it has no run yet" in str([n.message for n in pilot.app._notifications])
