"""Finding a feature and keeping something of it: the dialog behind ``/``, bookmarks and notes."""

from __future__ import annotations

import asyncio

from textual.widgets import Input

from saetui.errors import UserError
from saetui.feature_marks import FeatureMarks, Mark
from saetui.tui.panes.pane_table import PaneTable
from saetui.tui.screens.find import FindScreen
from saetui.tui.screens.line_input import LineInput
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW
from saetui.tui.widgets.context_list import ContextList
from tests.tui.bench import GELU, Bench, bench
from tests.tui.snapshot import check_snapshot, screen_text


async def typed(it: Bench, text: str) -> list[tuple[int, str]]:
    """Feature and reason of every line, once the index has been asked."""
    screen = it.app.screen
    assert isinstance(screen, FindScreen)
    screen.query_one(Input).value = text
    await it.pilot.pause(0.1)
    await it.settle()
    return shown(it)


def shown(it: Bench) -> list[tuple[int, str]]:
    screen = it.app.screen
    assert isinstance(screen, FindScreen)
    return [(line.at.feature, screen._why(line)) for line in screen.query_one(PaneTable).rows]


async def test_by_number() -> None:
    async with bench() as it:
        await it.press("slash")
        assert await typed(it, "512") == [] and "features 0–511" in it.line(".message")
        await it.press("enter")  # nothing to go to
        assert isinstance(it.app.screen, FindScreen)
        await it.type("240")  # without waiting for the index
        assert it.screen.selected == Selected(NARROW, 240)
        await it.press("left_square_bracket")
        assert it.screen.selected == Selected(NARROW, 0)


async def test_by_token_and_by_boosted_word() -> None:
    async with bench() as it:
        await it.press("slash")
        assert await typed(it, "-") == [
            (240, "fires on - ·-: 61 of 64 top tokens"),
            (31, "boosts ·-: 2nd, +1.25"),
        ]
        assert it.line("#kinds").split() == ["[all", "2]", "fires", "on", "1", "boosts", "1", "notes", "0"]
        await it.press("tab", "tab")
        assert "[boosts 1]" in it.line("#kinds")
        assert [feature for feature, _ in await typed(it, "-")] == [31]
        await it.press("shift+tab")
        assert [feature for feature, _ in await typed(it, "-")] == [240]
        await it.press("shift+tab")
        assert len([op for op, _ in it.engine.asked if op == "find"]) == 1, "once for all kinds"
        await typed(it, "-")
        await it.press("down", "enter")
        assert it.screen.selected == Selected(NARROW, 31)


async def test_what_is_not_there_is_said() -> None:
    async with bench() as it:
        await it.press("slash")
        assert await typed(it, "zebra") == []
        assert "'zebra' is no feature's top token" in it.line(".message")
        it.engine.errors["find"] = UserError("the engine was ended by SIGKILL")
        assert await typed(it, "7") == [(7, "by its number")]
        assert "SIGKILL" in it.line(".message")
        await it.press("enter")
        assert it.screen.selected == Selected(NARROW, 7)


async def test_what_one_kind_has_not_is_said_with_what_the_others_have() -> None:
    async with bench() as it:
        await it.press("slash", "tab")
        assert await typed(it, "lap") == []
        assert it.line(".message") == "'lap' is no feature's top token"
        assert " boosts 1 " in it.line("#kinds") and "[fires on 0]" in it.line("#kinds")
        await it.press("tab")
        assert [feature for feature, _ in shown(it)] == [31] and not it.line(".message")


async def test_what_is_asked_while_the_engine_loads_is_answered_when_it_has_loaded() -> None:
    gate = asyncio.Event()
    async with bench(prepare=lambda engine: engine.gates.update(open=gate), settle=False) as it:
        await it.pilot.press("slash", "-")
        await it.wait_for(lambda: "the engine is not ready" in it.line(".message"))
        gate.set()
        await it.wait_for(lambda: [feature for feature, _ in shown(it)] == [240, 31])
        assert not it.app.screen.query_one(".message").display


async def test_nothing_is_kept_of_a_feature_that_does_not_exist() -> None:
    async with bench() as it:
        it.screen.select(Selected(NARROW, 9999))
        await it.press("b")
        said = list(it.app._notifications)[-1].message
        assert said == "there is no feature 9999: narrow has features 0 to 511"
        assert FeatureMarks(GELU).kept() == []


async def test_bookmarks_and_notes_are_kept_listed_and_searched() -> None:
    async with bench() as it:
        await it.press("n", "b", "n", "m")
        assert isinstance(it.app.screen, LineInput)
        await it.type("hyphens after  counts")
        assert it.line("#note") == "✎ hyphens after counts" and it.screen.query_one("#note").display
        await it.press("t")
        assert not it.screen.query_one("#note").display
    async with bench() as it:  # another day
        await it.press("slash")
        assert shown(it)[:2] == [(2, "hyphens after counts"), (1, "bookmarked")]
        assert await typed(it, "counts after") == [(2, "hyphens after counts")]
        await it.press("enter")
        assert it.screen.selected == Selected(NARROW, 2)
        await it.press("m")
        await it.type("")
        assert FeatureMarks(GELU).kept() == [Mark(NARROW, 1, bookmarked=True)]


async def test_two_workbenches_agree() -> None:
    async with bench() as it:
        other = FeatureMarks(GELU)
        other.note(NARROW, 0, "from the other terminal")
        await it.wait_for(lambda: it.line("#note") == "✎ from the other terminal")
        await it.press("b")
        assert other.refresh() and other.of(NARROW, 0) == Mark(NARROW, 0, True, "from the other terminal")


async def test_a_feature_of_a_runs_sae_is_opened_again() -> None:
    FeatureMarks(GELU).note("1122-1403-f0-k7q", 513, "adverbs")
    async with bench() as it:
        await it.press("slash", "enter")
        assert it.screen.selected == Selected("1122-1403-f0-k7q", 513)
        assert it.line("#note") == "✎ adverbs"
        it.engine.errors["open_run"] = UserError("there is no run 'gone'")
        FeatureMarks(GELU).note("gone", 3, "x")
        await it.press("slash", "enter")
        assert it.screen.selected.feature == 513
        assert "no run 'gone'" in list(it.app._notifications)[-1].message


async def test_the_dialog_at_its_sizes() -> None:
    for size, name in (((80, 24), "find-80"), ((120, 40), "find-120"), ((200, 60), "find-200")):
        async with bench(size=size) as it:
            await it.press("slash")
            await typed(it, "-")
            check_snapshot(it.app, name)


async def test_every_firing_is_listed_page_by_page() -> None:
    async with bench() as it:
        await it.press("a")
        pane = it.screen.contexts
        listed = pane.query_one(ContextList)
        assert len(listed.contexts) == 300 and "all 2,500 firings" in screen_text(it.app)
        before = listed.highlighted
        await it.press("down")
        assert listed.highlighted != before and len(listed.contexts) == 300
        for count in (600, 900, 1200):
            await it.press("end")
            assert len(listed.contexts) == count and listed.index == count - 301
        while len(listed.contexts) < 2500:
            await it.press("end")
        asked = [args["start"] for op, args in it.engine.asked if op == "firings"]
        assert asked == list(range(0, 2500, 300))
        await it.press("a")
        assert len(listed.contexts) == 30


async def test_looking_for_every_firing_can_be_stopped() -> None:
    gate = asyncio.Event()
    async with bench(prepare=lambda engine: engine.gates.update(firings=gate)) as it:
        await it.pilot.press("a")
        await it.wait_for(lambda: "firings under way" in screen_text(it.app))
        await it.press("escape")
        assert it.engine.cancelled == ["firings"] and not it.screen.contexts.all
        assert "under way" not in screen_text(it.app)
        assert len(it.screen.contexts.query_one(ContextList).contexts) == 30
