"""The pair of features in the workbench, with the engine's double at the edge of its pipe."""

from textual.widgets import Static

from saetui.errors import UserError
from saetui.tui.screens.feature import FeatureScreen
from saetui.tui.screens.pair import PairScreen
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW
from saetui.tui.widgets.table import Table
from tests.tui.snapshot import screen_text
from tests.tui.test_workbench import bench


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
        await it.press("escape")
        assert isinstance(it.app.screen, FeatureScreen)


async def test_what_goes_wrong_is_said() -> None:
    def fail(engine: object) -> None:
        engine.errors["pair"] = UserError("no rows to read")  # type: ignore[attr-defined]

    async with bench(prepare=fail) as it:
        it.screen.select(Selected(NARROW, 3))
        await it.press("d")
        assert str(it.app.screen.query_one("#pair-said", Static).content) == "no rows to read"
