"""Word contexts, against their definition spelled out slowly."""

import numpy as np
import pytest
import torch

from saetui.corpus.grammar import SyntheticRows, grammar
from saetui.errors import UserError
from saetui.sae.sae import SAE
from saetui.split.judging.word_contexts import WordContexts, best_features, occurrences, words_before
from tests.constructed import ADJ, COUNT, DIGIT, HYPHEN, WORD, ConstructedLM, sae_of


@pytest.fixture(scope="module")
def lm() -> ConstructedLM:
    return ConstructedLM()


def test_the_words_before(lm: ConstructedLM) -> None:
    text = "It was a multi-part plan. Two three-day trips. 3-day."
    ids = np.array([[0, *lm.tokenizer.encode(text)]])
    assert words_before(lm.tokenizer, ids, lm.hyphen, bos=True) == ["multi", "three", ""]
    # A piece at a time: the word is put together again.
    pieces = grammar().vocabulary
    row = [pieces.index(" long"), pieces.index("day"), pieces.index("day"), pieces.index("-")]
    assert words_before(lm.tokenizer, np.array([row]), lm.hyphen, bos=False) == ["longdayday"]


def test_choice_and_score_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    f = np.maximum(rng.normal(size=(120, 6)), 0).round(1)  # rounded: ties
    is_word = rng.random((120, 3)) < 0.3
    f[:, 4] += 2 * is_word[:, 1]
    selective = np.array([True, True, False, True, True, True])
    best, f1 = best_features(f, is_word, selective)

    def score(said: np.ndarray, true: np.ndarray) -> float:
        hits = (said & true).sum()
        precision, recall = hits / max(said.sum(), 1), hits / true.sum()
        return 2 * precision * recall / max(precision + recall, 1e-12)

    for w in range(3):
        ways = {
            (c, cut): score(f[::2, c] >= cut, is_word[::2, w])
            for c in np.flatnonzero(selective).tolist()
            for cut in np.unique(f[::2, c])
            if cut > 0
        }
        highest = max(ways.values())
        scored = [
            score(f[1::2, c] >= cut, is_word[1::2, w])
            for (c, cut), v in ways.items()
            if np.isclose(v, highest)
        ]
        assert any(np.isclose(f1[w], s) for s in scored)
        assert best[w] in {c for (c, _), v in ways.items() if np.isclose(v, highest)}
    assert best[1] == 4
    best, f1 = best_features(f, is_word, np.zeros(6, bool))
    assert best.tolist() == [-1] * 3 and not f1.any()


def found(lm: ConstructedLM, sae: SAE, cut: float = 0.2, features: list[int] | None = None) -> WordContexts:
    read = occurrences(lm, sae, "-", SyntheticRows("eval"), tokens=60_000, features=features)
    return read.words(cut, min_count=20)


def test_the_numbers_of_a_class_feature(lm: ConstructedLM) -> None:
    """A feature of all counts says "multi" with the precision that multi has among the counts; the cut
    that is chosen can only use the strengths, which seven words in seven differ by."""
    sae = sae_of({COUNT: 1.0}, {ADJ: 1.0}, {DIGIT: 1.0}, {WORD: 1.0, HYPHEN: 0.1})
    result = found(lm, sae)
    rows = SyntheticRows("eval").read(0, 60_000 // 47).astype(np.int64)
    assert result.tokens_read == rows.shape[0] * 47
    assert result.occurrences == (rows == lm.hyphen).sum()
    names = {word.word: word for word in result.words}
    assert names["multi"].feature == 0
    assert names["long"].feature == 1
    assert names["multi"].mass == pytest.approx(1.0)
    assert names["multi"].winner == pytest.approx(1.0)
    before = words_before(lm.tokenizer, rows, lm.hyphen, bos=True)
    assert names["multi"].count == before.count("multi")
    assert [w.f1 for w in result.words] == sorted((w.f1 for w in result.words), reverse=True)
    assert all(word.count >= 20 for word in result.words)
    assert result.clean == sum(word.f1 >= 0.8 for word in result.words)


def test_a_feature_of_its_own_is_clean(lm: ConstructedLM) -> None:
    """ "dual" alone among the counts has its strength, in this vocabulary: one bias makes a feature of it."""
    x = lm.activations(torch.tensor([[0, i, lm.hyphen] for i in range(lm.tokenizer.d_vocab)]))[:, 2, COUNT]
    strengths = {lm.tokenizer.token_str(i).strip().lower(): float(v) for i, v in enumerate(x) if v > 0}
    highest = max(strengths.values())
    strongest = {word for word, v in strengths.items() if v == highest}
    rest = max(v for v in strengths.values() if v < highest)
    sae = sae_of({COUNT: 1.0}, bias=-(highest + rest) / 2)
    result = found(lm, sae)
    on = [word for word in result.words if word.feature == 0 and word.word in strongest]
    assert on
    assert sum(word.count for word in on) > 0
    for word in result.words:
        assert (word.f1 > 0) == (word.word in strongest)


def test_the_cut_leaves_features_of_the_words_out(lm: ConstructedLM) -> None:
    carried = sae_of({WORD: 1.0, COUNT: 1.0})  # fires on all words, and on the hyphen after a count
    assert any(word.feature == 0 for word in found(lm, carried, cut=0.0).words)
    kept = found(lm, carried, cut=0.2)
    assert all((word.feature, word.f1) == (None, 0.0) for word in kept.words)
    assert kept.cut == 0.2


def test_only_the_features_asked_for(lm: ConstructedLM) -> None:
    sae = sae_of({COUNT: 1.0}, {ADJ: 1.0}, {COUNT: 2.0})
    assert {word.feature for word in found(lm, sae, features=[2]).words} == {2, None}
    read = occurrences(lm, sae, "-", SyntheticRows("eval"), tokens=20_000)
    assert {word.feature for word in read.words(min_count=10, features=[2]).words} == {2, None}


def test_bad_input(lm: ConstructedLM) -> None:
    sae = sae_of({COUNT: 1.0})
    rows = SyntheticRows("eval")
    with pytest.raises(UserError, match="'--' is not one token of constructed"):
        occurrences(lm, sae, "--", rows, tokens=1000)
    with pytest.raises(UserError, match="no word stands 9999 times before '-'"):
        occurrences(lm, sae, "-", rows, tokens=1000).words(min_count=9999)
