"""The tokenizer: hyphens, spaces, BOS, and what is not a tokenizer."""

from pathlib import Path

import pytest

from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from saetui.worlds.train_tokenizer import BOS, first_characters, train_tokenizer

TEXT = "A multi-line string -- see the 16-bit value -> returned - in\n    a low-level call.\n"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_tokenizer([TEXT] * 20, 400))


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token_str(id) for id in tokenizer.encode(text)]


def test_a_glued_hyphen_is_a_token_of_its_own_and_every_other_run_of_hyphens_another(tokenizer: Tokenizer):
    assert pieces(tokenizer, "x-y --x -> y - z---") == [
        *("x", "-", "y", " --", "x", " ->", " ", "y", " -", " ", "z", "-", "-", "-"),
    ]


def test_digits_stand_alone_and_a_line_break_takes_its_indentation(tokenizer: Tokenizer):
    assert pieces(tokenizer, "16-bit") == ["1", "6", "-", "bit"]
    assert "\n    " in pieces(tokenizer, TEXT)


def test_text_comes_back_as_it_was(tokenizer: Tokenizer):
    text = TEXT + "\ttabs, two  spaces, and what was never seen: naïve 数"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_batch([text, ""]) == [tokenizer.encode(text), []]


def test_the_bos_comes_only_when_asked_for_and_is_shown(tokenizer: Tokenizer):
    assert tokenizer.bos_token_id == 0 and 257 < tokenizer.d_vocab <= 400
    assert tokenizer.encode("the", bos=True) == [0, *tokenizer.encode("the")]
    assert tokenizer.decode([0, *tokenizer.encode("the")]) == BOS + "the"


def test_token_id_is_of_exactly_one_token(tokenizer: Tokenizer):
    assert tokenizer.token_str(tokenizer.token_id(" the")) == " the"
    assert tokenizer.token_id(BOS) == 0
    assert tokenizer.token_id("multi-line") is None


def test_saved_and_read_it_is_the_same_tokenizer(tokenizer: Tokenizer, tmp_path: Path):
    tokenizer.save(tmp_path / "tokenizer.json")
    read = Tokenizer.from_file(tmp_path / "tokenizer.json")
    assert read.fingerprint == tokenizer.fingerprint and read.encode(TEXT) == tokenizer.encode(TEXT)
    assert Tokenizer.from_file(tmp_path / "tokenizer.json", bos_token="-").bos_token_id == tokenizer.token_id(
        "-"
    )


def test_what_is_no_tokenizer_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="no tokenizer at"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is not a tokenizer"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")


def test_a_vocabulary_without_bos_says_so():
    with pytest.raises(UserError, match="no BOS"):
        Tokenizer(train_tokenizer([TEXT], 300), bos_token="<none>").encode("x", bos=True)


def test_first_characters_takes_the_beginning_of_a_stream():
    assert list(first_characters(iter(["abc", "de", "f"]), 4)) == ["abc", "de"]
