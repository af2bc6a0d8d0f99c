"""The synthetic corpus: random access, labels that are true, and the tokenizer that ships."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from saetui.corpus.grammar import BLOCK_ROWS, LABELS, ROWS, SyntheticRows, grammar
from saetui.corpus.grammar_rules import PREFIXES, QUALIFIERS
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError

SHIPPED = Path(__file__).parents[1] / "models" / "synthetic" / "lm" / "tokenizer.json"


@pytest.fixture(scope="module")
def rows() -> SyntheticRows:
    return SyntheticRows()


def test_rows_can_be_read_from_anywhere(rows: SyntheticRows):
    whole = rows.read(0, 2 * BLOCK_ROWS)
    assert whole.shape == (2 * BLOCK_ROWS, 48) and whole.dtype == np.uint16
    for start, count in ((0, 1), (BLOCK_ROWS - 3, 7), (BLOCK_ROWS, BLOCK_ROWS)):
        assert (SyntheticRows().read(start, count) == whole[start : start + count]).all()
        assert rows.labels(start, count).shape == (count, 48)


def test_the_corpus_ends(rows: SyntheticRows):
    assert len(rows.read(ROWS["train"] - 2, 10)) == 2
    assert rows.read(ROWS["train"] + 5, 10).shape == (0, 48)


def test_rows_are_the_ones_that_the_shipped_model_was_trained_on(rows: SyntheticRows):
    digest = sha256(rows.read(0, 600).tobytes()).hexdigest()
    assert digest.startswith("ff2345b493ac7c8d")


def test_a_longer_row_begins_with_the_shorter_one(rows: SyntheticRows):
    assert (SyntheticRows(seq_len=49).read(0, 64)[:, :48] == rows.read(0, 64)).all()
    with pytest.raises(UserError, match="2 to 49"):
        SyntheticRows(seq_len=50)


def test_splits_and_seeds_differ_in_rows_and_fingerprint(rows: SyntheticRows):
    others = [SyntheticRows("eval"), SyntheticRows(seed=1)]
    for other in others:
        assert (other.read(0, 8) != rows.read(0, 8)).any()
    assert len({other.fingerprint for other in (rows, *others, SyntheticRows(seq_len=32))}) == 4
    assert SyntheticRows().fingerprint == rows.fingerprint


def test_every_hyphen_has_the_label_of_its_left_context(rows: SyntheticRows):
    tokens, labels = rows.read(0, 2048), rows.labels(0, 2048)
    vocabulary = np.array([token.strip() for token in grammar().vocabulary])
    hyphens = labels >= 0
    assert ((vocabulary[tokens] == "-") == hyphens).all()
    counts = {"multi", "single", "double", "triple", "dual", "two", "three", "four", "five"}
    counts |= {"six", "seven", "eight", "nine", "ten"}
    left = vocabulary[tokens[:, :-1][hyphens[:, 1:]]]
    expected = {"count": counts, "adj": set(QUALIFIERS), "digit": set("0123456789"), "other": set(PREFIXES)}
    for index, label in enumerate(LABELS):
        assert set(left[labels[hyphens] == index]) == expected[label]


def test_hyphens_are_as_frequent_as_the_world_promises(rows: SyntheticRows):
    labels = rows.labels(0, 4096)
    assert 0.02 < (labels >= 0).mean() < 0.03
    shares = np.bincount(labels[labels >= 0]) / (labels >= 0).sum()
    assert np.abs(shares - [0.28, 0.28, 0.27, 0.17]).max() < 0.03


def test_rows_begin_with_bos_and_nothing_else_is_special(rows: SyntheticRows):
    tokens = rows.read(0, 256)
    assert (tokens[:, 0] == 0).all() and (tokens[:, 1:] > 1).all()


def test_an_article_fits_the_word_after_it(rows: SyntheticRows):
    text = " ".join(grammar().tokenizer().decode(row.tolist()) for row in rows.read(0, 256))
    assert " an old" in text and " a old" not in text and " an man" not in text


def test_the_tokenizer_reads_what_the_grammar_writes(rows: SyntheticRows):
    tokenizer = grammar().tokenizer()
    assert tokenizer.d_vocab == len(grammar().vocabulary) and tokenizer.bos_token_id == 0
    for row in rows.read(0, 100)[:, 1:].tolist():
        assert tokenizer.encode(tokenizer.decode(row)) == row
    assert Tokenizer.from_file(SHIPPED).fingerprint == tokenizer.fingerprint


def test_a_prompt_may_begin_within_a_sentence():
    tokenizer = grammar().tokenizer()
    assert [tokenizer.token_str(id) for id in tokenizer.encode("the multi-part plan")] == [
        *(" the", " multi", "-", "part", " plan"),
    ]
    assert tokenizer.encode("60-day") == tokenizer.encode(" 60-day")
    assert tokenizer.token_id("level") != tokenizer.token_id(" level")
