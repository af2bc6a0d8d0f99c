"""Journeys through the workbench, with the engine's double at the edge of its pipe."""

from __future__ import annotations

import asyncio
import gc
import re
from pathlib import Path
from typing import Any

import pytest
from textual._compositor import Compositor
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, Static

from saetui import settings
from saetui.embedded import world
from saetui.errors import UsageError
from saetui.setup import Setup
from saetui.tui import collector
from saetui.tui.connection import Phase
from saetui.tui.panes.pane_table import PaneTable
from saetui.tui.screens.feature import FeatureScreen
from saetui.tui.screens.help import HelpScreen
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW
from saetui.tui.widgets.context_list import ContextList
from tests.tui.bench import GELU, bench
from tests.tui.snapshot import check_snapshot, screen_text

# -- looking


async def test_opens_on_the_feature_with_every_pane_filled() -> None:
    async with bench() as it:
        assert it.screen.selected == Selected(NARROW, 0)
        assert {op for op, _ in it.engine.asked} == {"open", "probe", "contexts", "lens", "neighbours"}
        assert "feature 0 of 512" in it.line("#feature-bar") and "fires on 1.20 %" in it.line("#feature-bar")
        assert it.line("#engine-line") == "gelu-1l on cpu"


async def test_tokens_are_walked_and_a_feature_chosen() -> None:
    async with bench() as it:
        # The strip starts at the hyphen: there feature 240 is strongest, then 31.
        await it.press("down", "enter")
        assert it.screen.selected == Selected(NARROW, 31)
        await it.press("left_square_bracket")
        assert it.screen.selected == Selected(NARROW, 0)
        await it.press("right_square_bracket")
        assert it.screen.selected == Selected(NARROW, 31)


async def test_a_prompt_is_probed_and_remembered() -> None:
    async with bench() as it:
        await it.press("p")
        it.screen.query_one(Input).value = "a long-standing rule"
        await it.press("enter")
        asked = [args for op, args in it.engine.asked if op == "probe"][-1]
        assert asked["prompt"] == "a long-standing rule" and asked["follow"] == [0]
        await it.press("p")
        await it.pilot.press("x")  # keys are letters while a prompt is written
        assert it.screen.query_one(Input).value == "a long-standing rulex"
    async with bench() as it:
        assert it.screen.prompt.prompt == "a long-standing rule"


async def test_an_empty_prompt_is_refused_in_one_line_and_the_next_keys_are_still_the_prompts() -> None:
    async with bench() as it:
        await it.press("p")
        it.screen.query_one(Input).value = ""
        await it.press("enter")
        assert "a character at least" in next(iter(it.app._notifications)).message
        await it.press("h", "i", "enter")
        assert it.screen.prompt.prompt == "hi" and not it.screen.query_one(Input).has_focus
        assert not it.screen.prompt.query_one(".message").display


async def test_narrow_and_wide_side_by_side() -> None:
    async with bench() as it:
        await it.press("w")
        assert not it.screen.prompt.beside  # nothing wide is there yet, and the notice says how to get it
        assert "no wide SAE yet" in next(iter(it.app._notifications)).message
        await it.press("g", "w")
        assert it.screen.prompt.beside
        assert [args["sae"] for op, args in it.engine.asked if op == "probe"][-2:] == [NARROW, "graft-1"]


async def test_the_worlds_wide_sae_stands_beside_where_nothing_else_is_open() -> None:
    async with bench(Setup(model="synthetic")) as it:
        await it.press("w")
        assert it.screen.prompt.beside
        assert [Path(args["path"]).name for op, args in it.engine.asked if op == "open_sae"] == ["wide-all"]


async def test_the_last_feature_is_there_again_the_next_time() -> None:
    async with bench() as it:
        await it.press("slash")
        await it.type("17")
        await it.press("z")
    async with bench() as it:
        assert it.screen.selected == Selected(NARROW, 17) and it.screen.grid.zoomed


async def test_contexts_from_intervals_wider_and_still_coming() -> None:
    async with bench(prepare=lambda engine: setattr(engine, "complete", False)) as it:
        assert "still being read" in str(it.screen.contexts.query_one(".facts", Static).content)
        await it.press("i")
        assert len(it.screen.contexts.as_text().splitlines()) == 10
        await it.press("x")
        assert [args["before"] for op, args in it.engine.asked if op == "contexts"][-1] == 12
        asked = len(it.engine.asked)
        it.engine.complete = True
        await it.wait_for(lambda: len(it.engine.asked) > asked)  # the pane looks again by itself
        await it.settle()
        assert "still being read" not in str(it.screen.contexts.query_one(".facts", Static).content)


async def test_the_histogram_is_read_off_by_the_arrows() -> None:
    async with bench() as it:
        await it.press("2", "right", "left")
        assert "3.00–6.00: 3.00k  ≥ 4.00k, 33.3 %" in screen_text(it.app)
        await it.press("escape")
        assert "n 12.0k" in screen_text(it.app)


async def test_what_takes_long_says_so_and_escape_gives_it_up() -> None:
    gate = asyncio.Event()
    async with bench(prepare=lambda engine: engine.gates.update(lens=gate), settle=False) as it:
        await it.wait_for(lambda: "3 logit lens …" in screen_text(it.app))
        await it.pilot.press("escape")
        await it.wait_for(lambda: it.engine.cancelled == ["lens"])
        await it.settle()
        text = screen_text(it.app)
        assert "3 logit lens ─" in text and "stopped" in text
        gate.set()
        await it.press("n")
        assert "up0" in screen_text(it.app) and "stopped" not in screen_text(it.app)


async def test_copying_a_pane_says_where_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    async with bench() as it:
        await it.press("3", "c")
        path = settings.state_root() / "clipboard.txt"
        assert path.read_text().startswith("boosted\t up0\t3.0000")
        assert str(path) in next(iter(it.app._notifications)).message


# -- panes


@pytest.mark.parametrize(
    ("size", "shown"), [((80, 24), {1}), ((120, 40), {1, 2, 3, 4}), ((200, 60), {1, 2, 3, 4, 5})]
)
async def test_panes_by_the_room_there_is(size: tuple[int, int], shown: set[int]) -> None:
    async with bench(size=size) as it:
        visible = {pane.NUMBER for pane in it.screen.panes if pane.display and pane.region.area}
        assert visible == shown


async def test_hidden_panes_ask_nothing_until_they_are_shown() -> None:
    async with bench(size=(80, 24)) as it:
        assert {op for op, _ in it.engine.asked} == {"open", "probe"}
        await it.press("tab")
        assert it.screen.grid.active == 2 and it.engine.asked[-1][0] == "contexts"
        await it.press("shift+tab", "shift+tab")
        assert it.screen.grid.active == 5
        await it.press("3")
        assert {op for op, _ in it.engine.asked} >= {"lens", "neighbours"}


async def test_zoom_shows_one_pane_and_all_again() -> None:
    async with bench() as it:
        await it.press("2", "z")
        assert [pane.NUMBER for pane in it.screen.panes if pane.display] == [2]
        await it.press("escape")
        assert [pane.NUMBER for pane in it.screen.panes if pane.display] == [1, 2, 3, 4]


async def test_a_move_of_the_focus_does_not_paint_the_whole_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[str] = []
    paint = Compositor.render_full_update

    def counted(self: Compositor, simplify: bool = False) -> Any:
        painted.append("all")
        return paint(self, simplify)

    async with bench() as it:
        monkeypatch.setattr(Compositor, "render_full_update", counted)
        await it.press("tab", "tab", "tab")
        assert it.screen.grid.active == 4
        assert not painted


async def test_a_list_that_the_focus_enters_or_leaves_draws_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def counted(kind: type[Widget]) -> None:
        draw = kind.render_line

        def render_line(self: Widget, y: int) -> Strip:
            drawn.append(f"{type(self).__name__} {y}")
            return draw(self, y)

        monkeypatch.setattr(kind, "render_line", render_line)

    async with bench() as it:
        contexts = it.screen.query_one(ContextList)
        await it.wait_for(lambda: len(contexts.contexts) > 2)
        await it.press("tab")
        counted(ContextList)
        counted(PaneTable)
        await it.press("shift+tab")
        assert drawn == ["ContextList 0"] and not contexts.has_focus
        await it.press("tab")
        assert drawn == ["ContextList 0"] * 2 and contexts.has_focus


def test_garbage_waits_until_the_hand_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(1))
    collector.resume()
    assert gc.get_threshold()[2] == collector.SELDOM
    for middle, times in ((collector.DUE - 1, 0), (collector.DUE, 1)):
        monkeypatch.setattr(gc, "get_count", lambda middle=middle: (0, 0, middle))
        collector.rest()
        assert len(collected) == times


# -- the engine


async def test_a_dead_engine_is_started_again_once_and_then_waits_for_the_person() -> None:
    async with bench() as it:
        it.engine.die()
        await it.wait_for(lambda: it.app.session.state.phase is Phase.READY)
        assert it.engine.starts == 2
        it.engine.die()
        await it.pilot.pause()
        assert it.app.session.state.phase is Phase.DIED
        assert "ended by SIGKILL" in it.line("#engine-line") and "ctrl+r" in it.line("#engine-line")
        await it.press("g")
        assert "not ready" in list(it.app._notifications)[-1].message
        await it.press("ctrl+r")
        assert it.app.session.state.phase is Phase.READY
        asked = len(it.engine.asked)
        await it.press("n")
        assert len(it.engine.asked) > asked


async def test_an_engine_that_cannot_be_started_is_one_line_and_is_tried_again() -> None:
    full = OSError(28, "No space left on device", "engine.log")
    async with bench(prepare=lambda engine: engine.errors.update(start=full)) as it:
        assert "cannot be started" in it.line("#engine-line") and "engine.log" in it.line("#engine-line")
        await it.press("ctrl+r")
        assert it.app.session.state.phase is Phase.DIED
        it.engine.errors.clear()
        await it.press("ctrl+r")
        assert it.line("#engine-line") == "gelu-1l on cpu"


async def test_a_setup_that_cannot_be_opened_is_one_line_and_the_app_stays() -> None:
    error = UsageError("the SAE wants d_in 512, the model has 64: name the SAE of this model")
    async with bench(prepare=lambda engine: engine.errors.update(open=error)) as it:
        assert it.line("#engine-line") == str(error)
        await it.press("tab")
        assert it.screen.grid.active == 2


async def test_loading_is_shown_and_keys_work_meanwhile() -> None:
    gate = asyncio.Event()
    async with bench(prepare=lambda engine: engine.gates.update(open=gate), settle=False) as it:
        await it.pilot.pause()
        assert "loading gelu-1l: open under way" in it.line("#engine-line")
        await it.pilot.press("n")
        assert it.screen.selected == Selected(NARROW, 0)
        assert "how many features" in list(it.app._notifications)[-1].message
        gate.set()
        await it.settle()
        assert it.line("#engine-line") == "gelu-1l on cpu"
        it.engine.on_notice(
            {"notice": "index", "sae": "narrow", "tokens": 340, "wanted": 1000, "complete": False}
        )
        assert "reading the corpus 34 %" in it.line("#engine-line")


@pytest.mark.parametrize("known_from", ["the session before", "the world"])
async def test_features_are_gone_through_before_the_engine_is_open(known_from: str) -> None:
    setup = GELU if known_from == "the session before" else Setup("synthetic")
    if setup is GELU:
        async with bench():
            pass
    gate = asyncio.Event()
    async with bench(setup, prepare=lambda engine: engine.gates.update(open=gate), settle=False) as it:
        await it.pilot.pause()
        first, size = it.screen.selected.feature, it.app.session.size(NARROW)
        assert size is not None and size == (512 if setup is GELU else world("synthetic").narrow_features)
        await it.pilot.press("n", "n", "N")
        assert it.screen.selected == Selected(NARROW, (first + 1) % size)
        await it.pilot.press(*"NN")
        assert it.screen.selected == Selected(NARROW, (first - 1) % size)
        gate.set()
        await it.settle()
        (asked,) = [args for op, args in it.engine.asked if op == "contexts"]
        assert asked["feature"] == it.screen.selected.feature  # what was passed by is not asked for


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40)])
async def test_neighbours_of_another_sae_are_told_apart_at_every_size(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        await it.press("3")
        wide = await it.app.session.open_run("1122-1403-f0-k7q")
        it.screen.select(Selected(wide.name, 166))
        await it.settle()
        text = screen_text(it.app)
        assert re.search(r"167 narrow +0\.80", text) and re.search(r"167  +0\.80", text)
        assert "+3.00" in text and "-2.00" in text
        it.screen.select(Selected(NARROW, 166))
        await it.settle()
        assert re.search(r"167 wide +0\.80", screen_text(it.app))


# -- help, palette, keys


async def test_help_shows_every_action_with_its_key() -> None:
    async with bench(size=(120, 100)) as it:
        await it.press("f1")
        assert isinstance(it.app.screen, HelpScreen)
        await it.press("escape")
        assert isinstance(it.app.screen, FeatureScreen)


async def test_help_begins_with_the_keys_of_the_screen_that_asks() -> None:
    async with bench(size=(80, 24)) as it:
        for keys, own in (
            (("r", "o"), "Curves of runs"),
            (("escape",), "Runs list"),
            (("escape", "3"), "The selected"),
        ):
            await it.press(*keys, "f1")
            assert own in screen_text(it.app).splitlines()[2]
            await it.press("escape")


async def test_the_palette_offers_what_is_valid_here() -> None:
    async with bench() as it:
        commands = {command.title for command in it.app.get_system_commands(it.app.screen)}
        assert {"Graft", "Split", "Zoom", "Quit", "Theme"} <= commands
        assert not {"Holds", "Launch"} & commands
        graft = next(c for c in it.app.get_system_commands(it.app.screen) if c.title == "Graft")
        await graft.callback()  # pyright: ignore[reportGeneralTypeIssues]
        await it.settle()
        assert it.screen.children_pane.children_shown


async def test_keys_can_be_remapped_in_the_settings(isolated_places: Path) -> None:
    (isolated_places / "settings.toml").write_text('[keys]\ngraft = "ctrl+g"\n')
    async with bench() as it:
        await it.press("g")
        assert not it.screen.children_pane.children_shown
        await it.press("ctrl+g")
        assert it.screen.children_pane.children_shown


async def test_snapshot_of_the_help() -> None:
    async with bench(size=(120, 110)) as it:
        await it.press("f1")
        check_snapshot(it.app, "help")
