"""Tokens in cells: widths of wide, right-to-left and invisible text, and contexts cut to fit."""

import unicodedata
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size

from saetui.features.results import Context, FeatureActivation, PromptProbe, TokenProbe
from saetui.tui.widgets.canvas import Canvas, Grid
from saetui.tui.widgets.context_list import context_cells
from saetui.tui.widgets.histogram import draw_histogram
from saetui.tui.widgets.prompt_strip import lay_out
from saetui.tui.widgets.scatter import Points, draw_scatter
from saetui.visible import head, pad, tail, visible

TEXT = st.text(alphabet=st.characters(codec=None, max_codepoint=0x1FFFF), max_size=8)
HARD = st.one_of(
    TEXT,
    st.sampled_from(
        [
            "漢字",
            "👍🏽",
            "👨‍👩‍👧",
            "❤️",
            "🇩🇪",
            "שלום",
            "مرحبا",
            "\u202eabc",
            "e\u0301",
            "\u0301",
            "\n",
            "\t",
            "\x1b[31m",
        ]
    ),
    st.sampled_from(["", " ", "  ", "\u200b", "\ud800", "한글", "ᄒ\u1161\u11ab", "กำ"]),
)


def context(tokens, center, activations=None):
    return Context(0, 0, center, tokens, activations or [1.0] * len(tokens))


@given(HARD)
def test_visible_text_hides_nothing_and_every_terminal_agrees_on_its_width(text):
    shown = visible(text)
    assert cell_len(shown) == sum(map(get_character_cell_size, shown))
    for char in shown:
        assert unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp"), repr(char)
    shown.encode()  # no lone surrogate, which could not be written to a terminal
    if text and not all(0xFE00 <= ord(char) < 0xFE10 for char in text):
        assert cell_len(shown) > 0


def test_named_characters():
    assert visible("a\n\tb\r") == "a↵→b␍"
    assert visible("one two  three") == "one two··three"
    assert visible(" dash", dots=True) == "·dash"
    assert visible("\x00\x1b\x7f") == "␀␛␡"
    assert "\u202e" not in visible("\u202eevil")


@given(HARD, st.integers(0, 12))
def test_cut_text_fits(text, width):
    shown = visible(text)
    for cut in (head(shown, width), tail(shown, width)):
        assert cell_len(cut) <= width
    assert cell_len(pad(shown, width)) == width == cell_len(pad(shown, width, right=True))


@settings(max_examples=150, deadline=None)
@given(st.lists(HARD, min_size=1, max_size=12), st.data(), st.integers(4, 120))
def test_a_context_fills_its_line_exactly(tokens, data, width):
    center = data.draw(st.integers(0, len(tokens) - 1))
    pieces = context_cells(context(tokens, center), width, 1.0)
    assert sum(cell_len(text) for text, _ in pieces) == width
    assert sum(style.startswith("token") for _, style in pieces) == 1


def test_tokens_stand_under_each_other():
    columns = set()
    for tokens, center in (
        (["a", " low", "-", "cost"], 2),
        (["漢字", "一つ", "-", "文字"], 2),
        (["👍🏽👍🏽", "x" * 200, "-", "z" * 200], 2),
        (["-", "only right"], 0),
        (["שלום עולם", "-", "مرحبا"], 1),
    ):
        line = "".join(text for text, _ in context_cells(context(tokens, center), 60, 1.0))
        columns.add(cell_len(line[: line.index("«")]))
    assert len(columns) == 1


def test_cut_sides_say_so():
    line = "".join(t for t, _ in context_cells(context(["left " * 20, "-", "right " * 20], 1), 60, 1.0))
    assert line.count("…") == 2


def test_shades_follow_the_activation():
    pieces = context_cells(context(["a", "b", "c"], 1, [0.5, 4.0, 0.0]), 60, 4.0)
    styles = {text: style for text, style in pieces}
    assert styles["a"] == "shade-1" and styles["«b»"] == "token-4" and styles["c"] == "shade-0"


@given(st.lists(HARD, max_size=20), st.integers(1, 60))
def test_prompt_tokens_never_overlap(tokens, width):
    slots = lay_out(tokens, [float(i % 3) for i in range(len(tokens))], width)
    for a, b in pairwise(slots):
        assert b.line > a.line or b.x >= a.x + a.width + 1
    assert all(slot.x + cell_len(slot.text) <= width for slot in slots)


def test_probe_records_are_what_the_strip_reads():
    token = TokenProbe(0, "-", [FeatureActivation(3, 1.5)], 0.5, [FeatureActivation(240, 2.5)], 4)
    probe = PromptProbe("-", "narrow", [token])
    from saetui.tui.widgets.prompt_strip import _activation

    assert _activation(probe.tokens[0], 240) == 2.5
    assert _activation(probe.tokens[0], 3) == 1.5
    assert _activation(probe.tokens[0], 7) == 0.0


def test_painter_leaves_no_dot_of_another_layer_in_a_cell():
    grid = Grid(2, 1)
    canvas = Canvas(grid, 0, 0, 2, 1, "braille")
    canvas.layer("under")
    canvas.span(0, 0, 3)
    canvas.layer("over")
    canvas.dot(1, 0)
    assert grid.chars[0][0] == "⠈" and grid.styles[0][0] == "over"


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=20))
def test_lines_stay_inside_and_are_connected(points):
    grid = Grid(10, 5)
    canvas = Canvas(grid, 1, 1, 8, 3, "braille")
    canvas.layer("line")
    for (a, b), (c, d) in pairwise(points):
        canvas.line(a, b, c, d)
    rows = grid.plain().split("\n")
    assert rows[0] == rows[4] == " " * 10
    assert all(row[0] == row[9] == " " for row in rows)


def test_changes_between_grids_are_few_spans():
    old, new = Grid(40, 3), Grid(40, 3)
    new.text(3, 1, "ab")
    new.text(7, 1, "c")
    new.text(30, 1, "d")
    assert list(new.changes(old)) == [(3, 1, 5), (30, 1, 1)]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 10**7), max_size=64),
    st.integers(0, 80),
    st.integers(0, 20),
    st.booleans(),
    st.one_of(st.none(), st.integers(-1, 64)),
)
def test_histogram_draws_anything(counts, width, height, log, crosshair):
    edges = [float(i) for i in range(len(counts) + 1)]
    grid = draw_histogram(edges, counts, width, height, "density", log=log, mark=2.0, crosshair=crosshair)
    assert all(cell_len(row) == width for row in grid.plain().split("\n")[:height])


def test_a_single_count_is_seen_beside_a_million():
    rows = draw_histogram([0, 1, 2], [1_000_000, 1], 10, 8).plain().split("\n")
    assert rows[6][7] != " "


def test_a_histogram_is_read_off_bin_by_bin():
    shown = draw_histogram([0, 1, 2, 3], [70, 20, 10], 40, 10, crosshair=1)
    assert shown.plain().startswith("1.00–2.00: 20  ≥ 30.0, 30.0 %")
    assert "│" in shown.plain() and "log" not in shown.plain()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.floats(), st.floats()), max_size=60),
    st.integers(0, 60),
    st.integers(0, 20),
    st.one_of(st.none(), st.floats(-1, 2)),
)
def test_scatter_draws_anything(points, width, height, crosshair):
    groups = [Points("a", [x for x, _ in points], [y for _, y in points])]
    draw_scatter(groups, width, height, "t", "x", crosshair=crosshair)


def test_a_scatter_is_read_off_column_by_column():
    groups = [Points("tokens", [1.0, 1.0, 9.0], [2.0, 4.0, 7.0])]
    at = lambda share: draw_scatter(groups, 40, 10, "t", "x", crosshair=share).plain().split("\n")[0]  # noqa: E731
    assert "tokens 0" in at(0.5)
    read = [at(column / 36) for column in range(37)]
    assert sum("tokens 2, 2.00–4.00" in line for line in read) == 1
    assert sum("tokens 1, 7.00–7.00" in line for line in read) == 1, "every point is in one column"
