"""What other tasks deliver while the screens are being taken down is dropped, not an error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from textual.css.query import NoMatches
from textual.widgets import Static

from saetui.setup import Setup
from saetui.tui.app import Workbench
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.log import LogScreen
from saetui.tui.screens.monitor import MonitorScreen
from saetui.tui.screens.runs import RunsScreen
from tests.tui.fabricate import FakeRun
from tests.tui.fake_engine import FakeEngine
from tests.tui.host import Host


async def test_runs_and_engine_news_after_the_widgets_have_gone() -> None:
    app = Workbench(Setup(model="gelu-1l"), FakeEngine)
    async with app.run_test() as pilot:
        await pilot.pause()
    screen = app.feature_screen
    with pytest.raises(NoMatches):
        screen.query_one("#run-line", Static)
    with app._context():
        app._runs_changed()
        screen.engine_changed()


@pytest.mark.parametrize(("number", "operation"), [(1, "probe"), (2, "contexts"), (3, "lens")])
async def test_an_answer_between_the_end_of_a_panes_widgets_and_its_own(
    number: int, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[FakeEngine] = []
    answered: list[int] = []

    def connect(*callbacks: Any) -> FakeEngine:
        engines.append(FakeEngine(*callbacks))
        engines[0].gates[operation] = asyncio.Event()
        return engines[0]

    app = Workbench(Setup(model="gelu-1l"), connect)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        pane = app.feature_screen.panes[number - 1]

        async def answer(_: object) -> None:
            assert pane.loading_now and not pane.query("*")
            engines[0].gates[operation].set()
            while pane.loading_now:
                await asyncio.sleep(0)
            answered.append(number)

        monkeypatch.setattr(type(pane), "on_unmount", answer, raising=False)
    assert answered == [number]


@pytest.mark.parametrize("kind", [MonitorScreen, RunsScreen, LogScreen])
async def test_a_look_at_files_that_comes_back_after_its_screen_has_gone(kind: Any, tmp_path: Path) -> None:
    run = FakeRun(tmp_path).begin().train(1_000_000).finish().run
    run.log_path.write_text("a line\n")
    screen = kind({MonitorScreen: run, RunsScreen: RunWatch(tmp_path), LogScreen: run.log_path}[kind])
    poller = screen._poller
    read, deliver = poller._read, poller._deliver

    async with Host(screen).run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        poller.close()
        found = read()  # the thread is at its last look …
        screen.dismiss()
        await pilot.pause()
        assert not screen.is_running and not screen.query("*")
        assert deliver(found) is False  # … and comes back when nobody is there
