"""The census in the workbench, with the engine's double at the edge of its pipe."""

from __future__ import annotations

import asyncio
import tomllib

import pytest
from textual.widgets import Input

from saetui.errors import UserError
from saetui.tui.census_taking import Stage
from saetui.tui.exporting import exportable, twins
from saetui.tui.screens.census import CensusScreen
from saetui.tui.screens.feature import FeatureScreen
from saetui.tui.screens.launch import LaunchScreen
from saetui.tui.screens.top_study import TopStudyScreen
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW
from saetui.tui.widgets.table import Table
from tests.tui.bench import Bench, bench
from tests.tui.fake_engine import FOUND, FakeEngine
from tests.tui.snapshot import check_snapshot, screen_text

SIZES = [(80, 24), (120, 40), (200, 60)]


def stored(engine: FakeEngine) -> None:
    engine.measured = list(FOUND)


def half(engine: FakeEngine) -> None:
    engine.measured = FOUND[:2]


def shown(it: Bench) -> Table:
    assert isinstance(it.app.screen, CensusScreen)
    return it.app.screen.table


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
async def test_the_rank_and_the_census(size: tuple[int, int]) -> None:
    async with bench(size=size, prepare=half) as it:
        await it.press("A")
        check_snapshot(it.app, f"census-rank-{size[0]}x{size[1]}")
        await it.press("tab")
        check_snapshot(it.app, f"census-{size[0]}x{size[1]}")
        await it.press("c")
        assert "Spearman 0.50" in screen_text(it.app) and "512 of 512" in screen_text(it.app)


async def test_what_is_stored_is_there_at_once_and_nothing_is_taken_unasked() -> None:
    async with bench(prepare=stored) as it:
        await it.press("A")
        assert [args for op, args in it.engine.asked if op == "census"] == [{"go_on": False}]
        await it.press("c")
        assert len([op for op, _ in it.engine.asked if op == "census"]) == 1, "it is complete"
        await it.press("escape", "A")
        assert len([op for op, _ in it.engine.asked if op == "census"]) == 1, "and still known"
        assert isinstance(it.app.screen, CensusScreen) and it.app.screen.table.id == "measured"


async def test_the_census_is_sorted_by_context_and_the_cursor_stays_on_the_feature() -> None:
    async with bench(prepare=stored) as it:
        await it.press("A", "tab")
        table = shown(it)
        assert [line.feature for line in table.rows][:2] == [240, 3] and len(table.rows) == 512
        await it.press("down", "tab")
        assert [line.place for line in shown(it).rows][:3] == [1, 2, 3]
        line = shown(it).highlighted
        assert line and line.feature == 3
        await it.press("slash", *"the", "enter")
        assert [line.feature for line in shown(it).rows] == [17]


async def test_what_is_exported() -> None:
    async with bench(prepare=half) as it:
        await it.press("A", "tab")
        ((name, table),) = exportable(it.app.screen)
        first = table.records()[0]
        assert (name, first["feature"], first["split by"], first["context"]) == (
            "measured",
            240,
            "context",
            0.86,
        )
        assert twins(it.app.screen) == ["saetui census --model gelu-1l"]
        await it.press("tab")
        assert twins(it.app.screen) == ["saetui census --before --model gelu-1l"]


async def test_it_is_taken_in_the_background_and_stopped_with_escape() -> None:
    gate = asyncio.Event()
    async with bench(prepare=half) as it:
        await it.press("A")
        it.engine.gates["census"] = gate
        await it.pilot.press("c")
        await it.wait_for(lambda: "census under way" in screen_text(it.app))
        await it.pilot.press("c", "escape")
        await it.wait_for(lambda: it.engine.cancelled == ["census"])
        assert isinstance(it.app.screen, CensusScreen), "the first escape stops it"
        assert "c takes the census" in screen_text(it.app)
        await it.pilot.press("c")
        await it.wait_for(lambda: "census under way" in screen_text(it.app))
        it.app.pop_screen()
        gate.set()
        await it.settle()
        await it.wait_for(lambda: it.app.census and it.app.census.complete)
        await it.press("A")
        assert "512 of 512" in screen_text(it.app)


async def test_features_come_in_while_it_is_taken() -> None:
    async with bench() as it:
        await it.press("A")
        census = it.app.census
        assert census is not None and census.stage is Stage.KNOWN
        from saetui.engine.messages import encode

        census._progress({"progress": 0.1, "message": "grafting: 3 of 512", "partial": encode(FOUND[:3])})
        await it.press("tab")
        assert [line.feature for line in shown(it).rows] == [240, 3, 17]
        assert "3 of 512 features" in screen_text(it.app)


async def test_enter_goes_to_the_feature_with_the_children_of_its_census() -> None:
    async with bench(prepare=stored) as it:
        await it.press("r", "A", "enter")
        assert isinstance(it.app.screen, FeatureScreen)
        assert it.screen.selected == Selected(NARROW, 240) and it.screen.grid.active == 4
        ((_, args),) = [asked for asked in it.engine.asked if asked[0] == "graft"]
        recipe = args["recipe"]
        assert (recipe["target"], recipe["children"], recipe["threshold"]) == (240, 4, 2.5)
        assert (recipe["steps"], recipe["hot_tokens"]) == (300, 8192), "as the census made it"
        assert "store_graft" not in [op for op, _ in it.engine.asked], "looking leaves no run behind"
        assert "3 children by the census's recipe" in screen_text(it.app)


async def test_a_feature_that_was_not_split_is_only_looked_at() -> None:
    async with bench(prepare=stored) as it:
        await it.press("A", "tab", "end", "enter")
        assert isinstance(it.app.screen, FeatureScreen)
        assert "graft" not in [op for op, _ in it.engine.asked]


async def test_graft_and_split_take_the_threshold_that_fits_the_feature() -> None:
    async with bench(prepare=stored) as it:
        await it.press("A", "g")
        ((_, args),) = [asked for asked in it.engine.asked if asked[0] == "graft"]
        assert args["recipe"]["threshold"] == pytest.approx(1.8), "a fifth of its strongest activation"
        assert "store_graft" in [op for op, _ in it.engine.asked]
        await it.press("A", "down", "s")
        form = it.app.screen
        assert isinstance(form, LaunchScreen)
        values = {row.field.name: row.value() for row in form._fields}
        assert (values["target"], values["threshold"]) == (it.screen.selected.feature, pytest.approx(1.8))


async def test_a_study_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    async def start(words: list[str]) -> str:
        asked.append(words)
        return "census-2-graft-gelu-1l"

    monkeypatch.setattr("saetui.tui.screens.census.start_study", start)
    async with bench(prepare=half) as it:
        await it.press("A", "tab", "n")
        dialog = it.app.screen
        assert isinstance(dialog, TopStudyScreen) and "6 runs: features 240, 3" in screen_text(it.app)
        dialog.query_one("#seeds", Input).value = "many"
        await it.press("enter")
        assert it.app.screen is dialog and "seeds: a number from 1 to 99" in screen_text(it.app)
        dialog.query_one("#seeds", Input).value = "2"
        await it.press("enter")
        assert isinstance(it.app.screen, CensusScreen)
        await it.wait_for(lambda: asked)
        path, *rest = asked[0]
        assert rest == ["--name", "census-2-graft-gelu-1l", "--model", "gelu-1l"]
        with open(path, "rb") as file:  # noqa: PTH123
            values = tomllib.load(file)
        assert values["method"] == "graft" and values["axes"] == {"seed": [1, 2]}
        assert [one["target"] for one in values["target"]] == [240, 3]
        said = "census-2-graft-gelu-1l is on its way"
        await it.wait_for(lambda: any(said in notice.message for notice in it.app._notifications))


async def test_while_the_model_loads_it_waits_and_then_looks() -> None:
    gate = asyncio.Event()

    def slow(engine: FakeEngine) -> None:
        engine.gates["open"] = gate

    async with bench(prepare=slow, settle=False, size=(80, 24)) as it:
        await it.pilot.press("A")
        await it.wait_for(lambda: "loading gelu-1l" in screen_text(it.app))
        await it.pilot.press("c", "enter", "g", "s", "n", "tab")
        check_snapshot(it.app, "census-loading")
        assert "the list is not read yet" in list(it.app._notifications)[-1].message
        gate.set()
        await it.wait_for(lambda: any(op == "census" for op, _ in it.engine.asked))


async def test_what_goes_wrong_is_said() -> None:
    def fail(engine: FakeEngine) -> None:
        engine.errors["census"] = UserError("there are no stored activations to take a census of: no room")

    async with bench(prepare=fail) as it:
        await it.press("A")
        assert "no stored activations" in screen_text(it.app)
        del it.engine.errors["census"]
        await it.press("c")
        assert "512 of 512" in screen_text(it.app)


async def test_a_dead_engine_is_named_and_what_is_known_stays() -> None:
    async with bench(prepare=half, size=(120, 40)) as it:
        await it.press("A")
        it.engine.die()
        await it.settle()
        it.engine.die()
        await it.pilot.pause()
        await it.press("c")
        check_snapshot(it.app, "census-dead")
        assert "ctrl+r starts it again" in screen_text(it.app) and len(shown(it).rows) >= 2
