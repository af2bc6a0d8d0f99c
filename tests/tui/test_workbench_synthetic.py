"""The whole job from the keyboard on the synthetic world: find, look, graft, judge, split, watch, judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from saetui import embedded, settings
from saetui.runs.store import LIVE, list_runs
from saetui.setup import Setup
from saetui.split.judging.review import read_review
from saetui.tui.app import Workbench
from saetui.tui.screens.launch import LaunchScreen
from saetui.tui.screens.monitor import MonitorScreen
from saetui.tui.screens.review import ReviewScreen
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW
from tests.tui.snapshot import screen_text

TOKENS = 40_960
"""Too few for a split that holds, enough for a run that ends."""


async def until(pilot: Pilot[None], holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(120):
        while not holds():
            await asyncio.sleep(0.1)
            await pilot.pause()


async def test_from_the_first_screen_to_two_verdicts() -> None:
    world = embedded.world("synthetic")
    app = Workbench(Setup(model="synthetic", device="cpu"))
    async with app.run_test(size=(120, 40)) as pilot:
        screen, target = app.feature_screen, Selected(NARROW, world.target)
        assert screen.selected == target and "loading" in str(screen.query_one("#hint").render())
        await until(pilot, lambda: (known := screen.contexts.known_for(target)) and known.fired > 1000)
        assert all("«-»" in line for line in screen.contexts.as_text().splitlines())

        await pilot.press("n")  # somewhere else, and found again by its number
        await until(pilot, lambda: screen.selected != target)
        await pilot.press("slash", *str(world.target), "enter")
        await until(pilot, lambda: screen.selected == target and screen.contexts.known_for(target))

        await pilot.press("g")
        await until(pilot, lambda: screen.children_pane.run is not None)
        assert sum(child.share for child in screen.children_pane.children_shown) > 0.9
        await pilot.press("v")
        await until(pilot, lambda: "0/12 answered" in str(app.screen.query_one("#progress").render()))
        await pilot.press(*"aaaaaaaaaaaa")
        await until(pilot, lambda: "done: 3 of 3 children" in str(app.screen.query_one("#progress").render()))
        await pilot.press("escape", "s")
        await pilot.pause()
        form = app.screen
        assert isinstance(form, LaunchScreen)
        tokens = next(row.control for row in form._fields if row.field.name == "tokens")
        assert isinstance(tokens, Input)
        tokens.value = str(TOKENS)
        tokens.focus()
        await pilot.press("enter")
        await until(pilot, lambda: len(list_runs(settings.runs_root())) == 2)
        run = list_runs(settings.runs_root())[0]
        # Live or, on a fast machine, finished by now.
        await until(pilot, lambda: "opens the monitor" in str(screen.run_pane.query_one(".facts").render()))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen) and app.screen.state is not None)
        monitor = app.screen
        assert isinstance(monitor, MonitorScreen)
        await until(pilot, lambda: monitor.state not in LIVE)
        assert run.state() == "finished", run.log_path.read_text()
        await until(pilot, lambda: "took" in screen_text(app))
        snapshot = monitor.view.snapshot if monitor.view else None
        assert snapshot and snapshot.status.tokens == TOKENS and len(snapshot.series["loss"]) >= 1
        assert {probe.token for probe in snapshot.probes} == {"-"}, "the target is watched on every prompt"
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen) and app.screen._questions)
    split, graft = list_runs(settings.runs_root())
    assert (split.manifest.kind, graft.manifest.kind) == ("split", "graft")
    assert read_review(graft.folder).by == "person" and read_review(graft.folder).passed == 3
    assert read_review(split.folder).judgement is not None
