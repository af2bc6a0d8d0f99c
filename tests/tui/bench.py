"""A workbench under test, with the engine's double at the edge of its pipe."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input, Static

from saetui import settings
from saetui.setup import Setup
from saetui.tui.app import Workbench
from saetui.tui.screens.feature import FeatureScreen
from tests.tui.fabricate import FakeRun
from tests.tui.fake_engine import FakeEngine

GELU = Setup(model="gelu-1l")


class Bench:
    """A workbench under test with the double behind it."""

    def __init__(self, app: Workbench, pilot: Pilot[None], engine: FakeEngine) -> None:
        self.app, self.pilot, self.engine = app, pilot, engine

    @property
    def screen(self) -> FeatureScreen:
        return self.app.feature_screen

    async def settle(self) -> None:
        """Until nothing is under way any more."""
        await self.pilot.pause()
        while any(not worker.is_finished for worker in self.app.workers):
            await self.app.workers.wait_for_complete()
            await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.settle()

    async def type(self, text: str) -> None:
        self.app.screen.query_one(Input).value = text
        await self.press("enter")

    def line(self, selector: str) -> str:
        return str(self.app.screen.query_one(selector, Static).content)

    async def wait_for(self, what: Callable[[], Any]) -> None:
        """Until ``what()`` holds; for what another thread brings about."""
        async with asyncio.timeout(30):
            while not what():
                await self.pilot.pause(0.01)


@asynccontextmanager
async def bench(
    setup: Setup = GELU,
    size: tuple[int, int] = (120, 40),
    prepare: Callable[[FakeEngine], None] = lambda engine: None,
    settle: bool = True,
) -> AsyncIterator[Bench]:
    engines: list[FakeEngine] = []

    def connect(on_notice: Any, on_death: Any) -> FakeEngine:
        engines.append(FakeEngine(on_notice, on_death))
        prepare(engines[0])
        return engines[0]

    app = Workbench(setup, connect)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        it = Bench(app, pilot, engines[0])
        if settle:
            await it.settle()
        yield it


def finished_graft(name: str = "1122-1403-f0-k7q", target: int = 0) -> FakeRun:
    """A stored graft as the engine leaves it, of the setup that these tests open."""
    fake = FakeRun(settings.runs_root(), name, graft=True)
    path = fake.run.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["setup"] = GELU.to_dict()
    manifest["recipe"]["target"] = target
    path.write_text(json.dumps(manifest))
    fake.event("exit", state="finished")
    return fake
