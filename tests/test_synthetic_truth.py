"""The judge and the children finder against the synthetic world's labels, on its real language model."""

import numpy as np
import pytest

from saetui.corpus.grammar import LABELS, SyntheticRows
from saetui.sae.sae import SAE
from saetui.split.finding.children import split_report
from saetui.split.finding.report import SplitReport
from saetui.split.judging.criteria import load_criteria
from saetui.split.judging.judge import judge
from saetui.split.judging.verdict import Judgement
from saetui.split.judging.word_contexts import occurrences
from tests.labelled import (
    ADJ,
    COUNT,
    CRITERIA_FILE,
    DIGIT,
    HYPHEN,
    OTHER,
    SPLIT,
    fitted,
    narrow,
    synthetic_lm,
)


def judged(sae: SAE) -> Judgement:
    criteria = load_criteria(CRITERIA_FILE)
    return judge(synthetic_lm(), sae, criteria, SyntheticRows("eval"), tokens=60_000)


def reported(sae: SAE) -> SplitReport:
    return split_report(synthetic_lm(), sae, narrow(), 0, 0.0, SyntheticRows("eval"), tokens=60_000)


def passes(judgement: Judgement) -> list[list[bool]]:
    return [[result.passed for result in child.criteria] for child in judgement.children]


def test_a_true_split_is_three_of_three() -> None:
    judgement = judged(fitted(*SPLIT))
    assert passes(judgement) == [[True] * 4] * 3
    assert [child.feature for child in judgement.children] == [COUNT, ADJ, DIGIT]
    for child in judgement.children:
        share = child.criteria[1].number
        assert share is not None and share >= 0.95


def test_the_contexts_that_the_judge_reads_have_the_label() -> None:
    rows = SyntheticRows("eval")
    for child, label in zip(judged(fitted(*SPLIT)).children, (COUNT, ADJ, DIGIT), strict=True):
        for read in child.criteria[1].evidence.contexts:
            assert rows.labels(read.context.row, 1)[0, read.context.position] == label


def test_a_true_split_reported() -> None:
    found = reported(fitted(*SPLIT))
    assert found.kind == "split", found.why
    labels = SyntheticRows("eval").labels(638, 638).astype(int)  # 60,000 tokens are 1276 rows; half scores
    shares = np.bincount(labels[labels >= 0], minlength=4) / (labels >= 0).sum()
    assert found.tokens_fired == pytest.approx((labels >= 0).sum(), rel=0.02)
    for child in found.children:
        assert child.share == pytest.approx(shares[child.feature], abs=0.03), LABELS[child.feature]
        assert child.precision > 0.95
    assert found.effective is not None
    assert found.effective.value == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=0.05)
    assert found.coverage.value > 0.95
    assert found.context[0].neighbour == "previous"
    assert found.context[0].share > 0.9
    assert found.logit_divergence is not None and found.logit_divergence > 0.005


def test_the_narrow_feature_is_none_of_three() -> None:
    judgement = judged(narrow())
    assert judgement.passed == 0
    assert not any(child.criteria[3].passed for child in judgement.children)  # it fires on every contrast
    assert reported(narrow()).kind == "unsplit"


def test_two_families_leave_one_child_of_its_own() -> None:
    """Count and adjective on one feature: only the digit has its own, though the target did split."""
    two = fitted((COUNT, ADJ), (DIGIT,))
    assert [child.passed for child in judged(two).children] == [False, False, True]
    assert reported(two).kind == "split"


def test_absorption_is_told_from_a_split() -> None:
    absorbed = fitted((COUNT, ADJ, OTHER), (DIGIT,), directions=(HYPHEN, (DIGIT,)))
    assert reported(absorbed).kind == "absorbed"


def test_part_of_the_target_lost() -> None:
    assert reported(fitted((DIGIT,))).kind == "lost"
    two = reported(fitted((COUNT,), (DIGIT,)))
    assert two.kind == "partly", two.why
    assert two.coverage.value < 0.8


def test_duplicates_change_nothing() -> None:
    once, twice = reported(fitted(*SPLIT)), reported(fitted(*SPLIT, (DIGIT,)))
    assert twice.duplicates in ([DIGIT], [4])
    assert twice.kind == once.kind
    assert twice.effective == once.effective


def test_words_of_their_own() -> None:
    """Each class feature is the best one for the words of its class; none is a word of its own."""
    lm = synthetic_lm()
    words = occurrences(lm, fitted(*SPLIT), "-", SyntheticRows("eval"), tokens=60_000).words()
    by_word = {word.word: word for word in words.words}
    assert by_word["two"].feature == COUNT
    assert by_word["long"].feature == ADJ
    assert by_word["two"].mass > 0.9
