"""Contexts list and prompt strip in a running app: cursor, messages, long lists, odd text."""

import time

from saetui.features.results import Context, FeatureActivation, PromptProbe, TokenProbe
from saetui.tui.widgets.context_list import ContextList, Section
from saetui.tui.widgets.prompt_strip import PromptStrip
from saetui.tui.widgets.table import Column, fit_columns
from tests.tui.host import Host
from tests.tui.snapshot import check_snapshot, screen_text


def contexts(count):
    lefts = (
        ["The", " price", " is", " low"],
        ["它", "是", "低"],
        ["\n", "\t", " a", "  multi"],
        ["של", "ום"],
    )
    rights = (["cost", " car"], ["成本"], ["\u202e", "million", "\x1b[0m"], [" end"])
    out = []
    for i in range(count):
        left, right = lefts[i % 4], rights[i % 4]
        tokens = [*left, "-", *right]
        level = 12.0 * (1 - i / max(count, 2))
        activations = [0.0] * len(left) + [level] + [level / 3] + [0.0] * (len(right) - 1)
        out.append(Context(i, 5, len(left), tokens, activations))
    return out


async def test_contexts_of_every_script_stay_on_the_grid():
    sections = [Section("top", contexts(6)), Section("0.5–1.0 · 40 tokens", contexts(3))]
    app = Host(ContextList())
    async with app.run_test(size=(60, 14)) as pilot:
        app.content.show(sections)
        await pilot.pause()
        check_snapshot(app, "contexts-60x14")


async def test_cursor_skips_headings_and_posts():
    app = Host(ContextList())
    async with app.run_test(size=(80, 10)) as pilot:
        listed = app.content
        listed.show([Section("a", contexts(2)), Section("b", contexts(3))])
        await pilot.press("down", "down")
        assert listed.index == 2 and listed.highlighted.row == 0
        await pilot.press("enter")
        await pilot.pause()
        kinds = [type(m).__name__ for m in app.seen]
        assert kinds == ["Highlighted", "Highlighted", "Highlighted", "Selected"]
        await pilot.press("end", "k")
        assert listed.index == 3
        await pilot.click(ContextList, offset=(20, 1))
        assert listed.index == 0


async def test_thousands_of_contexts_are_quick_and_the_cursor_survives_a_refill():
    app = Host(ContextList())
    async with app.run_test(size=(120, 40)) as pilot:
        listed = app.content
        many = contexts(20_000)
        begun = time.perf_counter()
        listed.show(many)
        await pilot.press("end")
        await pilot.pause()
        assert time.perf_counter() - begun < 2
        assert listed.index == 19_999 and "▸" in screen_text(app)
        row = listed.highlighted.row
        listed.show(many[10_000:])
        await pilot.pause()
        assert listed.highlighted.row == row
        assert "▸" in screen_text(app)


async def test_empty_list_says_what_is_missing():
    app = Host(ContextList(empty="the corpus is being read"))
    async with app.run_test(size=(80, 6)) as pilot:
        await pilot.press("down", "enter", "end")
        assert "the corpus is being read" in screen_text(app)


def probe(words, values, feature=240):
    return PromptProbe(
        "".join(words),
        "narrow",
        [
            TokenProbe(i, word, [FeatureActivation(1, 0.5)], 0.1, [FeatureActivation(feature, value)], 3)
            for i, (word, value) in enumerate(zip(words, values, strict=True))
        ],
    )


async def test_prompt_strip_starts_at_the_strongest_token_and_walks():
    app = Host(PromptStrip())
    async with app.run_test(size=(20, 10)) as pilot:
        strip = app.content
        strip.show(probe(["The", " low", "-", "cost", " 漢字", "\n"], [0, 0.5, 4.25, 0, 0, 1.5]), 240)
        await pilot.pause()
        assert strip.cursor == 2
        check_snapshot(app, "prompt-20x10")
        await pilot.press("right", "right", "right", "right")
        assert strip.cursor == 5
        await pilot.press("home", "left")
        assert strip.cursor == 0
        await pilot.press("down")
        assert strip.cursor > 0
        await pilot.pause()
        assert [m.token.position for m in app.seen][:2] == [2, 3]


async def test_the_cursor_stays_when_another_feature_is_followed():
    app = Host(PromptStrip())
    async with app.run_test(size=(60, 6)) as pilot:
        strip = app.content
        strip.show(probe(["a", "-", "b"], [0, 2, 0]), 240)
        await pilot.press("right")
        strip.show(probe(["a", "-", "b"], [3, 0, 0], 7), 7)
        assert strip.cursor == 2
        assert "3.0" in screen_text(app) or "3" in screen_text(app)


def test_growing_columns_share_what_is_left() -> None:
    fixed, first, second = (Column(name, str, 4, grow=name != "a") for name in "abc")
    widths = [width for _, width in fit_columns([fixed, first, second], 21)]
    assert widths == [4, 7, 6] and sum(widths) + 2 * 2 == 21


def test_a_column_gives_up_its_wish_before_its_place_and_what_matters_less_before_that() -> None:
    first = Column[str]("first", str, 10)
    recipe = Column[str]("recipe", str, 8, grow=True, drop=1, wish=20)
    other = Column[str]("other", str, 5, drop=2)

    def fitted(width: int) -> list[tuple[str, int]]:
        return [(column.title, cells) for column, cells in fit_columns([first, recipe, other], width)]

    assert fitted(41) == [("first", 10), ("recipe", 22), ("other", 5)]
    assert fitted(39) == [("first", 10), ("recipe", 20), ("other", 5)]
    assert fitted(38) == [("first", 10), ("recipe", 26)]
    assert fitted(31) == [("first", 10), ("recipe", 19)]
    assert fitted(20) == [("first", 10), ("recipe", 8)]
    assert fitted(19) == [("first", 10)]
