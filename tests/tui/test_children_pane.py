"""The children pane and the runs behind it: opened, judged, compared, with the engine's double."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Static

from saetui import settings
from saetui.engine.messages import EncoderInfo
from saetui.errors import UserError
from saetui.runs.store import Run
from saetui.tui.panes import children as pane_module
from saetui.tui.screens import compare as compare_module
from saetui.tui.screens.compare import CompareScreen
from saetui.tui.screens.feature import FeatureScreen
from saetui.tui.screens.review import ReviewScreen
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW
from saetui.tui.widgets.context_list import ContextList
from saetui.tui.widgets.table import Table
from tests.tui.bench import GELU, Bench, bench, finished_graft
from tests.tui.fabricate import FakeRun
from tests.tui.fake_engine import OF_GRAFT, FakeEngine
from tests.tui.snapshot import check_snapshot, screen_text

RUNS = ("1122-1703-f0-ccc", "1122-1603-f0-bbb", "1122-1503-f0-aaa")
"""Newest first."""


def dated(run: Run, minutes: int, **manifest: Any) -> Run:
    path = run.folder / "manifest.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "created": held["created"] + 60 * minutes, **manifest}))
    return run


def three_runs() -> list[Run]:
    return [dated(finished_graft(name).run, 30 - 10 * i) for i, name in enumerate(RUNS)]


def facts(it: Bench) -> str:
    return str(it.screen.children_pane.query_one(".facts", Static).content)


def opened(engine: FakeEngine) -> list[str]:
    return [args["run"] for op, args in engine.asked if op == "open_run"]


async def test_a_run_that_is_only_stepped_over_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    three_runs()
    async with bench() as it:
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        assert facts(it).startswith(f"{RUNS[0]} (1 of 3)")
        monkeypatch.setattr(pane_module, "STAY_S", 3600)  # longer than anyone stays
        await it.pilot.press("o")
        pane = it.screen.children_pane
        assert facts(it) == f"{RUNS[1]} (2 of 3)" and pane.children_shown == []
        assert it.screen.run_looked_at() == pane.run == Run(settings.runs_root() / RUNS[1])
        monkeypatch.setattr(pane_module, "STAY_S", 0)
        await it.press("o")
        assert pane.children_shown and facts(it).startswith(f"{RUNS[2]} (3 of 3)")
        assert opened(it.engine) == [RUNS[0], RUNS[2]]


async def test_a_step_gives_up_the_run_that_is_being_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    three_runs()
    monkeypatch.setattr(pane_module, "STAY_S", 0)
    gate = asyncio.Event()
    async with bench() as it:
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        it.engine.gates["open_run"] = gate
        await it.pilot.press("o")
        await it.wait_for(lambda: opened(it.engine)[1:] == [RUNS[1]])
        await it.pilot.press("o")
        await it.wait_for(lambda: it.engine.cancelled == ["open_run"])
        gate.set()
        await it.settle()
        assert it.screen.children_pane.run_id == RUNS[2] and it.screen.children_pane.children_shown


async def test_shares_say_of_which_tokens_they_are() -> None:
    run = finished_graft().run
    wide = dated(finished_graft("1122-1503-f0-abc").run, 10)
    async with bench(prepare=lambda engine: engine.runs.update()) as it:
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        assert facts(it) == f"{wide.id} (1 of 2) · share: of the 1.8k above 1.8 in 150k held-out tokens"
        await it.press("g")
        assert facts(it) == "not kept as a run · share: of the 12k above 1.8 in 1M tokens of the corpus"
        assert "fires on 1.20 % of 1M tokens" in it.line("#feature-bar")
    assert run.folder.exists()


async def test_shares_follow_the_corpus_as_more_of_it_is_read() -> None:
    run = finished_graft().run
    info = EncoderInfo(run.id, "graft", run.id, 515, run.id, 0, [512, 513, 514])

    def reading(engine: FakeEngine, share: float) -> None:
        engine.children = replace(OF_GRAFT, tokens_read=int(share * 10**6), complete=share == 1)
        notice = {"notice": "index", "sae": "narrow", "tokens": share, "wanted": 1, "complete": share == 1}
        engine.on_notice(notice)

    def prepare(engine: FakeEngine) -> None:
        engine.runs[run.id] = info
        engine.children = replace(OF_GRAFT, tokens_read=100_000, complete=False)
        engine.on_notice({"notice": "index", "sae": "narrow", "tokens": 0.1, "wanted": 1, "complete": False})

    async with bench(prepare=prepare) as it:
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        assert facts(it).endswith("in 100k tokens of the corpus so far")
        await it.press("4", "down")
        for share, said in ((0.15, "100k"), (0.2, "200k"), (0.3, "200k"), (0.5, "500k")):
            reading(it.engine, share)
            await it.settle()
            assert facts(it).endswith(f"in {said} tokens of the corpus so far")
        reading(it.engine, 1.0)
        await it.settle()
        assert facts(it).endswith("in 1M tokens of the corpus")
        assert it.screen.children_pane.query_one(Table).highlighted.feature == 513, "the cursor stays"  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
        asked = [op for op, _ in it.engine.asked if op == "children"]
        reading(it.engine, 1.0)
        await it.settle()
        assert asked == [op for op, _ in it.engine.asked if op == "children"], "all is known"


async def test_while_a_graft_is_made_the_pane_does_not_offer_one() -> None:
    gate = asyncio.Event()
    async with bench(prepare=lambda engine: engine.gates.update(graft=gate)) as it:
        assert "g grafts this feature" in screen_text(it.app)
        await it.pilot.press("g")
        await it.pilot.pause()
        assert "g grafts this feature" not in screen_text(it.app)
        await it.press("escape")
        assert "g grafts this feature" in screen_text(it.app)


async def test_an_engine_that_comes_back_is_asked_again_for_the_children() -> None:
    finished_graft()
    error = UserError("the engine was ended")
    async with bench(prepare=lambda engine: engine.errors.update(open_run=error)) as it:
        pane = it.screen.children_pane
        await it.wait_for(lambda: str(error) in str(pane._message.content))
        asked = len(opened(it.engine))
        it.engine.on_notice({"notice": "index", "sae": "narrow", "tokens": 1, "wanted": 2, "complete": False})
        await it.settle()
        assert len(opened(it.engine)) == asked, "the same engine would say the same"
        it.engine.errors.clear()
        await it.press("ctrl+r")
        await it.wait_for(lambda: pane.children_shown)


async def test_a_new_feature_is_read_from_the_top() -> None:
    async with bench() as it:
        await it.press("3", "down", "down", "2", "end")
        tables = it.screen.lens.query(Table)
        assert [table._at for table in tables] == [0, 0, 2]
        listed = it.screen.contexts.query_one(ContextList)
        assert listed.index > 5 and listed.scroll_offset.y > 0
        boosted = it.screen.lens.query_one("#boosted", Table)
        boosted.action_move(4)
        it.screen.contexts.reload()
        await it.settle()
        assert listed.index > 5, "the same feature: the cursor stays"
        await it.press("n")
        assert [table._at for table in tables] == [0, 0, 0]
        assert listed.index == 0 and listed.scroll_offset.y == 0


# -- what v judges


def of_another_model() -> Run:
    fake = FakeRun(settings.runs_root(), "1122-1903-f0-zzz")
    fake.event("exit", state="finished")
    return dated(fake.run, 100)


async def test_v_never_takes_a_run_of_another_model() -> None:
    foreign = of_another_model()
    async with bench() as it:
        await it.wait_for(lambda: it.app.watch_runs.runs)
        for pane in "12345":
            await it.press(pane, "v")
            assert isinstance(it.app.screen, FeatureScreen)
        assert it.screen.run_pane.run is None
        own = finished_graft().run
        await it.press("4")
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        for pane in "12345":
            await it.press(pane)
            assert it.screen.run_looked_at() == own != foreign


async def test_v_judges_what_is_looked_at() -> None:
    async with bench() as it:
        of_0 = finished_graft().run
        of_7 = dated(finished_graft("1122-1603-f7-bbb", target=7).run, 10)
        await it.wait_for(lambda: len(it.app.watch_runs.runs) == 2 and it.screen.children_pane.source)
        assert it.screen.run_looked_at() == of_0, "the newest run is of another feature"
        it.screen.selecting.select(Selected(NARROW, 7), passing=True)
        await it.settle()
        assert it.screen.children_pane.run == of_0 and it.screen.run_looked_at() == of_7
        it.screen.select(Selected(NARROW, 8))
        await it.settle()
        await it.press("v")
        assert "no finished run of feature 8 to judge" in list(it.app._notifications)[-1].message
        await it.press("5", "v")
        screen = it.app.screen
        assert isinstance(screen, ReviewScreen) and screen.subject.id == of_7.id


async def test_a_failed_run_is_not_offered_to_the_judge() -> None:
    finished_graft()
    fake = FakeRun(settings.runs_root(), "1122-1903-f0-zzz")
    fake.begin().event("exit", state="failed", message="no space left")
    failed = dated(fake.run, 100, setup=GELU.to_dict())
    async with bench() as it:
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        await it.press("5")
        await it.wait_for(lambda: f"{failed.id} · failed" in screen_text(it.app))
        assert not re.search("v judges (it|:)", screen_text(it.app))
        assert "4 goes to the children; v judges there" in screen_text(it.app)
        await it.press("v")
        assert "it can be judged when it has finished" in list(it.app._notifications)[-1].message


# -- two runs compared


def two_runs() -> tuple[Run, Run]:
    """A graft and, older, a wide run; and a graft older than both."""
    graft, wide, _ = three_runs()
    shutil.rmtree(wide.folder)
    fake = FakeRun(settings.runs_root(), wide.id)
    fake.event("exit", state="finished")
    recipe = {**fake.run.manifest.recipe, "target": 0}
    return graft, dated(fake.run, 20, setup=GELU.to_dict(), recipe=recipe)


async def test_a_graft_beside_a_wide_run(monkeypatch: pytest.MonkeyPatch, isolated_places: Path) -> None:
    graft, wide = two_runs()
    monkeypatch.setattr(compare_module, "STAY_S", 0)
    async with bench() as it:
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        await it.press("O")
        screen = it.app.screen
        assert isinstance(screen, CompareScreen) and screen.found is not None
        assert [args for op, args in it.engine.asked if op == "compare"] == [
            {"first": graft.id, "second": wide.id}
        ]
        assert screen.headless() == [f"saetui compare {graft.id} {wide.id}"]
        rows = screen.query_one(Table).records()
        assert [(r["found by"], r["first"], r["second"]) for r in rows] == [
            ("both", 512, 17), ("graft", 513, "(17)"), ("wide", "(513)", 99),
        ]  # fmt: skip
        await it.press("o")
        assert screen.second == RUNS[2] and [r["found by"] for r in screen.query_one(Table).records()] == [
            "both", "first", "second",
        ]  # fmt: skip
        await it.press("end", "enter")
        assert it.screen.selected == Selected(RUNS[2], 99)


async def test_comparing_what_cannot_be_compared_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "STAY_S", 0)
    async with bench() as it:
        finished_graft()
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        await it.press("O")
        assert "it takes two finished runs" in list(it.app._notifications)[-1].message
        three_runs()
        await it.wait_for(lambda: len(it.app.watch_runs.runs) == 4)
        it.engine.errors["compare"] = UserError("no rows to read")
        await it.press("O")
        assert it.line("#compare-said") == "no rows to read"
        await it.press("escape")
        assert isinstance(it.app.screen, FeatureScreen)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_snapshot_of_two_runs_compared(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    two_runs()
    monkeypatch.setattr(compare_module, "STAY_S", 0)
    async with bench(size=size) as it:
        await it.wait_for(lambda: len(it.app.watch_runs.runs) == 3)
        await it.press("O")
        check_snapshot(it.app, f"compare-{size[0]}")
