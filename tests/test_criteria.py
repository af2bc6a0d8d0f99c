"""Criteria files: what they mean, and that every mistake in one is a line that says what and where."""

from pathlib import Path

import pytest

from saetui.embedded import models_folder
from saetui.errors import UsageError
from saetui.split.judging.criteria import Thresholds, load_criteria, parse_prompt

GOOD = """
name = "toy"
token = "-"
[[child]]
name = "count"
prompt = "a multi-part plan"
pattern = '\\bmulti$'
words = ["Two"]
logits = ["dimension", "standing", "D"]
[[child]]
name = "digit"
prompt = "a 3«-»day trip - or two"
pattern = '\\d$'
logits = ["day"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "criteria.toml"
    path.write_text(text)
    return path


def test_the_seeds_own_criteria_ship() -> None:
    criteria = load_criteria(models_folder() / "gelu-1l" / "criteria.toml")
    assert (criteria.token, criteria.target, criteria.thresholds) == ("-", 240, Thresholds())
    assert [child.name for child in criteria.children] == ["count", "adverb or adjective", "number"]
    lefts = ["I'm a multi", "that encapsulated the long", "A 3"]
    for i, child in enumerate(criteria.children):
        assert [child.follows(left) for left in lefts] == [j == i for j in range(3)]
        assert [p.text for p in child.contrasts] == [
            c.prompts[0].text for c in criteria.children if c is not child
        ]
    assert criteria.children[0].expects("millionaire")
    assert criteria.children[2].expects("point")
    assert len(criteria.sha256) == 64


def test_a_file_without_options(tmp_path: Path) -> None:
    criteria = load_criteria(written(tmp_path, GOOD))
    count, digit = criteria.children
    assert criteria.thresholds == Thresholds()
    # The last token where none is marked, the marked one where one is.
    assert count.prompts[0].marked == "a multi«-»part plan"
    assert digit.prompts[0].marked == "a 3«-»day trip - or two"
    assert digit.prompts[0].text == "a 3-day trip - or two"
    # What shows one child is the contrast of the others.
    assert count.contrasts == digit.prompts
    assert digit.contrasts == count.prompts


def test_pattern_and_words(tmp_path: Path) -> None:
    count, digit = load_criteria(written(tmp_path, GOOD)).children
    assert count.follows("a multi")
    assert count.follows("a two")  # words do not mind case
    assert not count.follows("a multi one")  # the pattern says $
    assert not count.follows("a tattwo")  # whole words only
    assert digit.follows("in 16")
    assert not digit.follows("16 a")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (" dimension", True),
        ("dimensional", True),  # an inflection
        ("dim", True),  # a piece that begins the word
        ("st", True),
        ("s", False),  # one letter begins too many words
        ("D", True),
        ("Day", False),  # "D" is too short to be inflected
        ("-", False),
        (" ", False),
        ("long", False),
    ],
)
def test_words_among_the_boosted(tmp_path: Path, token: str, expected: bool) -> None:
    assert load_criteria(written(tmp_path, GOOD)).children[0].expects(token) is expected


def test_thresholds_are_read(tmp_path: Path) -> None:
    text = GOOD.replace("[[child]]", "[thresholds]\nmargin = 0.5\ntop_k = 7\n[[child]]", 1)
    assert load_criteria(written(tmp_path, text)).thresholds == Thresholds(margin=0.5, top_k=7)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('token = "-"', "token = ", "not valid TOML"),
        ('token = "-"', "", "token is missing"),
        ('token = "-"', "token = 5", "token is 5: a text is needed"),
        ('token = "-"', 'token = "-"\ntarget = -1', "target is -1"),
        ('token = "-"', 'token = "-"\ntokens = 3', "unknown key 'tokens'; did you mean 'token'?"),
        ('name = "count"\n', "", "child 1: name is missing"),
        ('name = "digit"', 'name = "count"', "two children are called 'count'"),
        ('name = "digit"', 'name = "a:b"', "cannot hold a colon"),
        ('prompt = "a multi-part plan"\n', "", "child 'count': prompt is missing"),
        ('"a multi-part plan"', '"a multi part plan"', "prompt 'a multi part plan' has no token '-'"),
        ('"a multi-part plan"', '"a «multi-part plan"', "'a «multi-part plan': mark exactly one"),
        ('"a multi-part plan"', '"a «multi»«-»part"', "mark exactly one"),
        ('"a multi-part plan"', "[]", "prompt is []"),
        ("words =", "word =", "child 'count': unknown key 'word'; did you mean 'words'?"),
        ('["Two"]', '"Two"', "child 'count': words is 'Two': a list of texts is needed"),
        ("multi$'", "multi($'", "child 'count': pattern '\\\\bmulti($' does not compile"),
        ("pattern = '\\d$'\n", "", "child 'digit': pattern is missing"),
        ('logits = ["day"]', "", "child 'digit': logits is missing"),
        ("[[child]]", "[thresholds]\nmargn = 1\n[[child]]", "unknown key 'margn'; did you mean 'margin'?"),
        ("[[child]]", "[thresholds]\nmargin = 2\n[[child]]", "margin is 2: a number from 0 to 1"),
        ("[[child]]", "[thresholds]\ntop_k = 0.5\n[[child]]", "top_k is 0.5: a whole number"),
        ("[[child]]", "[thresholds]\nshare = true\n[[child]]", "share is True: a number"),
    ],
)  # fmt: skip
def test_every_mistake_is_one_line_that_names_the_file(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        load_criteria(path)
    line = str(caught.value)
    assert says in line
    assert str(path) in line
    assert "\n" not in line
    assert caught.value.exit_code == 2


def test_where_a_regex_breaks(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("'\\d$'", "'ab[c'"))
    with pytest.raises(
        UsageError, match=r"child 'digit': pattern 'ab\[c' does not compile: .* at character 3"
    ):
        load_criteria(path)


def test_no_children_no_file_no_contrast(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add at least one"):
        load_criteria(written(tmp_path, 'name = "x"\ntoken = "-"\n'))
    with pytest.raises(UsageError, match=r"cannot read criteria .*nowhere"):
        load_criteria(tmp_path / "nowhere.toml")
    alone = GOOD[: GOOD.rindex("[[child]]")]
    with pytest.raises(UsageError, match="child 'count': contrasts is missing"):
        load_criteria(written(tmp_path, alone))


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "criteria.toml"
    path.write_bytes(b"name = \xff")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_criteria(path)


def test_a_token_with_its_space() -> None:
    prompt = parse_prompt("see the dog and the cat", " the", "here")
    assert (prompt.start, prompt.token) == (15, " the")
