"""The workbench on the real engine: client, pipes, server, a real (tiny) model, real grafts."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from saetui import settings
from saetui.engine import client as client_module
from saetui.engine.client import EngineClient
from saetui.runs.store import list_runs
from saetui.setup import Setup
from saetui.tui.app import Workbench
from saetui.tui.connection import Phase
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW
from tests.tui.snapshot import screen_text


@pytest.fixture(autouse=True)
def tiny_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SERVER", "tests.tiny_engine")


@asynccontextmanager
async def workbench(model: str = "tiny") -> AsyncIterator[tuple[Workbench, Pilot[None]]]:
    app = Workbench(Setup(model=model))
    async with app.run_test(size=(120, 40)) as pilot:
        yield app, pilot


async def until(pilot: Pilot[None], holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(90):
        while not holds():
            await asyncio.sleep(0.1)
            await pilot.pause()


def engine(app: Workbench) -> EngineClient:
    return cast(EngineClient, app.session._engine)


async def test_look_graft_kill_the_engine_and_find_it_all_again() -> None:
    async with workbench() as (app, pilot):
        screen, three = app.feature_screen, Selected(NARROW, 3)
        await until(pilot, lambda: app.session.state.phase is Phase.READY)
        assert "a warning" in app.session.state.line
        await pilot.press("slash", "3", "enter")
        await until(
            pilot, lambda: (known := screen.contexts.known_for(Selected(NARROW, 3))) and known.complete
        )
        await until(pilot, lambda: "boosted" in screen.lens.as_text())
        await pilot.press("g")
        await until(pilot, lambda: screen.children_pane.run is not None)
        children = screen.children_pane.children_shown
        assert len(children) > 1 and children[0].contexts and children[0].boosted
        await pilot.press("enter")
        child = Selected(screen.children_pane.source.name, children[0].feature)  # pyright: ignore[reportOptionalMemberAccess]
        await until(pilot, lambda: screen.contexts.known_for(child))
        # No criteria file speaks of this model: the children that are found are asked about.
        await pilot.press("v")
        await until(pilot, lambda: "belong together" in screen_text(app))
        await pilot.press("escape")
        # The engine is killed: it comes back by itself, and with it what was looked at.
        first = engine(app).pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(pilot, lambda: engine(app).pid != first and app.session.state.phase is Phase.READY)
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: screen.contexts.known_for(three))
        await pilot.press("right_square_bracket")  # of an encoder that the new engine has to open again
        await until(pilot, lambda: screen.contexts.known_for(child))
    (run,) = list_runs(settings.runs_root())
    assert run.state() == "finished" and run.manifest.recipe["target"] == 3
    async with workbench() as (app, pilot):
        pane = app.feature_screen.children_pane
        assert app.feature_screen.selected == Selected(NARROW, 3)
        await until(pilot, lambda: pane.children_shown)
        assert pane.run == run
        # The same children; their shares, and so their order, are of what has been read by now.
        assert {child.feature for child in pane.children_shown} == {child.feature for child in children}


async def test_a_graft_on_a_corpus_that_comes_slowly_can_be_cancelled() -> None:
    async with workbench("endless") as (app, pilot):
        screen, rare = app.feature_screen, Selected(NARROW, 24)  # too rare for a graft to begin soon
        await until(pilot, lambda: app.session.state.phase is Phase.READY)
        await until(pilot, lambda: "reading the corpus" in app.session.state.line)
        await pilot.press("slash", "2", "4", "enter")
        await until(pilot, lambda: screen.contexts.known_for(rare))
        await pilot.press("G")
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: screen.children_pane.grafting)
        await pilot.press("escape")
        await until(pilot, lambda: not screen.children_pane.grafting)
        await pilot.press("n")
        await until(pilot, lambda: screen.contexts.known_for(screen.selected))
    assert list_runs(settings.runs_root()) == []
