"""Makes the README's pictures and its recording: drives the workbench by keys through a real graft, a real
wide run and both verdicts, and saves what it shows.

python docs/make_pictures.py [--world real] [--size 120x36]
    writes docs/workbench.svg, docs/review.svg, docs/monitor.svg and docs/journey.svg
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recording import Recording
from textual.pilot import Pilot

from saetui.runs.store import list_runs
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.tui.app import Workbench
from saetui.tui.screens.monitor import MonitorScreen
from saetui.tui.screens.review import ReviewScreen
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW

FOLDER = Path(__file__).parent
RECORDED = (110, 32)
"""Columns and lines of the recording: little more than four panes need to stand side by side."""


class Journey:
    """The workbench, driven by keys; every step is a frame."""

    def __init__(self, app: Workbench, pilot: Pilot[None], size: tuple[int, int]) -> None:
        self.app, self.pilot, self.size = app, pilot, size
        self.recording = Recording()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause(0.3)

    async def until(self, holds: Callable[[], Any], seconds: float = 600) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await self.pilot.pause(0.1)
        await self.pilot.pause(0.5)

    def frame(self, caption: str, seconds: float = 2.5) -> None:
        self.recording.add(self.app, caption, seconds)

    async def picture(self, name: str, title: str) -> None:
        """The screen at the pictures' own size, as a file of its own."""
        await self.pilot.resize_terminal(*self.size)
        await self.pilot.pause(1.0)
        (FOLDER / name).write_text(self.app.export_screenshot(title=title))
        await self.pilot.resize_terminal(*RECORDED)
        await self.pilot.pause(0.5)

    def says(self, selector: str) -> str:
        return str(self.app.screen.query_one(selector).render())

    # -- the way

    async def look(self) -> None:
        screen = self.app.feature_screen
        target = Selected(NARROW, self.app.session.target)
        await self.until(lambda: (known := screen.contexts.known_for(target)) and known.complete)
        self.frame("saetui opens on a feature that fires in several contexts", 3.5)
        await self.press("1", "left", "left")
        self.frame("←→  the strongest features on every token; the other panes follow")
        await self.press("t", "2", "i")
        await self.until(lambda: screen.contexts.known_for(target))
        self.frame("2 i  contexts from every strength, not only the strongest")
        await self.press("i")

    async def graft(self) -> None:
        children = self.app.feature_screen.children_pane
        await self.press("g")
        await self.until(lambda: children.grafting is False or "%" in str(children._message.content))  # pyright: ignore[reportPrivateUsage]
        self.frame("g  children are trained in the feature's place …", 1.5)
        await self.until(lambda: children.run is not None)
        self.frame("… in seconds: what it hides, with share, contexts and logits", 3.5)
        await self.picture("workbench.svg", "saetui")
        await self.press("4", "down")
        self.frame("4 ↓  one child, one context")

    async def judge(self, what: str) -> None:
        await self.press("v")
        await self.until(
            lambda: isinstance(self.app.screen, ReviewScreen) and "answered" in self.says("#progress")
        )
        self.frame(f"v  {what}: four criteria for every expected child, with evidence", 3.5)
        await self.press("a", "a")
        if what == "the graft is judged":
            await self.picture("review.svg", "saetui: judging")
        self.frame("a  accepts the judge's suggestion; y n ? are your own word", 2)
        while "done" not in self.says("#progress"):
            await self.press("a")
        self.frame("the verdict", 2.5)
        await self.press("escape")

    async def split(self) -> None:
        await self.press("t", "s")
        await self.pilot.pause(1.0)
        self.frame("s  a wide SAE to check it by: the recipe, its cost, the same as a command", 3.5)
        runs = len(list_runs(runs_root()))
        await self.press("enter")
        await self.until(lambda: len(list_runs(runs_root())) > runs)
        run = list_runs(runs_root())[0]
        await self.press("enter")
        await self.until(lambda: isinstance(self.app.screen, MonitorScreen))
        for share in (0.15, 0.5):
            await self.until(lambda share=share: self._done() >= share)
            self.frame("enter  the run, live; it goes on without the terminal", 2)
        await self.until(lambda: run.state() == "finished")
        await self.pilot.pause(2.0)
        self.frame("a finished run: losses, L0, FVU, and the target replaced by its children", 3.5)
        await self.picture("monitor.svg", "saetui: a run")
        await self.judge("the wide run is judged")

    def _done(self) -> float:
        screen = self.app.screen
        assert isinstance(screen, MonitorScreen)
        snapshot = screen.view.snapshot if screen.view else None
        return (snapshot.status.progress or 0.0) if snapshot else 0.0

    async def list_all(self) -> None:
        await self.press("escape", "r")
        await self.pilot.pause(1.5)
        self.frame("r  both runs and their verdicts, kept", 3)


async def main(world: str, size: tuple[int, int]) -> None:
    app = Workbench(Setup(model=world))
    async with app.run_test(size=RECORDED) as pilot:
        journey = Journey(app, pilot, size)
        await journey.look()
        await journey.graft()
        await journey.judge("the graft is judged")
        await journey.split()
        await journey.list_all()
        journey.recording.write(FOLDER / "journey.svg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--world", default="real", choices=("real", "synthetic"))
    parser.add_argument("--size", default="120x36")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as places:
        for name in ("STATE", "RUNS"):
            os.environ[f"SAETUI_{name}"] = f"{places}/{name.lower()}"
        columns, rows = map(int, options.size.split("x"))
        asyncio.run(main(options.world, (columns, rows)))
