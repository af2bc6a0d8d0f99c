"""Walking a prompt's tokens, with the other panes following."""

from __future__ import annotations

from saetui.tui.selection import History, Selected
from saetui.tui.session import NARROW
from tests.tui.bench import Bench, bench


async def stayed(it: Bench, feature: int) -> None:
    """Until the person has stayed long enough for the panes to follow."""
    await it.wait_for(lambda: it.screen.selected.feature == feature)
    await it.settle()


async def test_the_panes_follow_the_token_and_the_feature_walked_to() -> None:
    async with bench() as it:
        await it.press("right")  # from the hyphen (240) to the word after it
        await stayed(it, 11)
        assert it.screen.contexts.known_for(Selected(NARROW, 11)) and it.screen.lens.selected.feature == 11  # pyright: ignore[reportOptionalMemberAccess]
        await it.press("down")
        await stayed(it, 31)
        await it.press("left_square_bracket")  # the whole walk is one step
        assert it.screen.selected == Selected(NARROW, 0)


async def test_children_stay_while_others_are_walked_over() -> None:
    async with bench() as it:
        await it.press("g", "1", "right")
        await stayed(it, 11)
        assert it.screen.children_pane.children_shown and it.screen.children_pane.parent_feature == 0
        await it.press("enter")
        assert it.screen.children_pane.parent_feature == 11


async def test_following_can_be_switched_off_for_good() -> None:
    async with bench() as it:
        await it.press("f", "right")
        await it.pilot.pause(0.3)
        assert it.screen.selected.feature == 0
        await it.press("enter")
        assert it.screen.selected.feature == 11
    async with bench() as it:
        assert not it.screen.prompt.leading


def test_a_walk_is_one_step_of_the_history() -> None:
    a, b, c, d = (Selected(NARROW, feature) for feature in range(4))
    history = History()
    history.visit(a)
    for walked in (b, c, d):
        history.visit(walked, passing=True)
    assert history.step(-1) == a and history.step(1) == d
    history.visit(b, passing=True)
    history.visit(b)  # chosen for good: the next walk does not take its place
    history.visit(c, passing=True)
    assert history.step(-1) == b
