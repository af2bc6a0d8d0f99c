"""From the workbench to the runs, into a monitor, and back, by keys."""

from saetui import settings
from saetui.setup import Setup
from saetui.tui.app import Workbench
from saetui.tui.screens.monitor import MonitorScreen
from saetui.tui.screens.runs import RunsScreen
from tests.tui.fabricate import several_runs
from tests.tui.fake_engine import FakeEngine
from tests.tui.host import until
from tests.tui.snapshot import screen_text


async def test_runs_monitor_and_requests() -> None:
    fakes = several_runs(settings.runs_root())
    app = Workbench(Setup(model="gelu-1l"), FakeEngine)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: "1 running" in screen_text(app))
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "of 26.2M tokens" in screen_text(app))
        assert isinstance(app.screen, MonitorScreen)

        # The request is a file that the run's process will find; resuming a run at work is refused.
        await pilot.press("p")
        running = fakes[4].run
        await until(pilot, lambda: [p.name for p in running.control.iterdir()] == ["pause"])
        keys = screen_text(app).splitlines()[-1]
        assert "p Pause" in keys and "x Stop" in keys and "Resume" not in keys and "Verdict" not in keys

        await pilot.press("left_square_bracket")  # a crashed one: it can be resumed and nothing else
        await until(pilot, lambda: "✗ crashed" in screen_text(app))
        await until(pilot, lambda: "r Resume" in screen_text(app).splitlines()[-1])
        keys = screen_text(app).splitlines()[-1]
        assert not any(word in keys for word in ("Pause", "Stop", "Verdict"))
        await pilot.press("x", "p", "v")  # what is not offered does nothing
        assert isinstance(app.screen, MonitorScreen) and not list(fakes[3].run.control.iterdir())

        await pilot.press(*["left_square_bracket"] * 3)
        await until(pilot, lambda: "✓ finished" in screen_text(app))
        await until(pilot, lambda: "v Verdict" in screen_text(app).splitlines()[-1])
        assert "Resume" not in screen_text(app).splitlines()[-1]

        await pilot.press("escape")
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("escape")
        assert app.screen is app.feature_screen
