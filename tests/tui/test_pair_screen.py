"""The pair of features in the workbench, with the engine's double at the edge of its pipe."""

import pytest
from textual.widgets import Static

from saetui.errors import UserError
from saetui.tui.screens.feature import FeatureScreen
from saetui.tui.screens.pair import PairScreen
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW
from saetui.tui.widgets.table import Table
from tests.tui.bench import bench
from tests.tui.snapshot import check_snapshot, screen_text


async def test_a_child_beside_its_target() -> None:
    async with bench() as it:
        await it.press("d")
        assert isinstance(it.app.screen, FeatureScreen), "one feature is no pair"
        it.screen.select(Selected("wide", 17))
        await it.press("d")
        screen = it.app.screen
        assert isinstance(screen, PairScreen)
        assert (screen.first, screen.second) == (Selected(NARROW, 0), Selected("wide", 17))
        assert it.engine.asked[-1] == ("pair", {"first": 0, "second": 17, "sae": NARROW, "within": "wide"})
        assert "decoder cosine 0.812 · Jaccard 0.600 · both on 30 of 1,000" in it.line("#pair-said")
        table = screen.query_one(Table)
        assert len(table.rows) == 5, "no context twice"
        text = screen_text(it.app)
        assert "«-» channel" in text and "17 (up) against 0" in text
        column = lambda side: [getattr(c, side)[c.center] for c in table.rows]  # noqa: E731
        assert column("first") == sorted(column("first"), reverse=True)
        await it.press("t")
        assert column("second") == sorted(column("second"), reverse=True)
        await it.press("o")
        assert column("second") == [0.0, 0.0] and column("first")[0] > 0, "what only the first has"
        await it.press("o")
        assert table.rows == [] and "17 fires nowhere without the other" in screen_text(it.app)
        await it.press("o")
        assert len(table.rows) == 5
        await it.press("escape")
        assert isinstance(it.app.screen, FeatureScreen)


async def test_what_goes_wrong_is_said() -> None:
    def fail(engine: object) -> None:
        engine.errors["pair"] = UserError("no rows to read")  # type: ignore[attr-defined]

    async with bench(prepare=fail) as it:
        it.screen.select(Selected(NARROW, 3))
        await it.press("d")
        assert str(it.app.screen.query_one("#pair-said", Static).content) == "no rows to read"


async def test_the_same_number_in_two_saes_is_told_apart() -> None:
    async with bench() as it:
        it.screen.select(Selected("wide", 0))
        await it.press("d")
        text = screen_text(it.app)
        assert "0 narrow" in text and "0 wide" in text and "● both  ▲ only 0 narrow" in text


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_snapshots(size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        it.screen.select(Selected("wide", 17))
        await it.press("d")
        check_snapshot(it.app, f"pair-{size[0]}x{size[1]}")
