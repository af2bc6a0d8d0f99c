"""Child F1s on the synthetic world: the labels are known, and so are the SAEs' features."""

import torch

from saetui.corpus.grammar import SyntheticRows
from saetui.split.judging.child_f1 import OCCURRENCES, ChildContexts
from saetui.split.judging.criteria import load_criteria
from tests.labelled import ADJ, COUNT, CRITERIA_FILE, DIGIT, SPLIT, fitted, narrow, synthetic_lm


def contexts() -> ChildContexts:
    found = ChildContexts.of(synthetic_lm(), load_criteria(CRITERIA_FILE), SyntheticRows("eval"))
    assert found is not None
    return found


def test_a_true_split_has_a_feature_for_every_child_and_the_narrow_sae_has_none() -> None:
    held_out = contexts()
    labels = SyntheticRows("eval").labels(0, 8192)
    read = next(rows for rows in range(512, 8192, 512) if (labels[:rows] >= 0).sum() >= OCCURRENCES)
    assert held_out.frequency == (labels[:read, 1:] >= 0).mean(), "no more is read than holds the token often"
    # Each pattern marks the occurrences that the grammar labels so, row by row.
    expected = labels[labels >= 0][: len(held_out.x)]
    for c, label in enumerate((COUNT, ADJ, DIGIT)):
        assert (held_out.follows[:, c] == (expected == label)).mean() > 0.99
    found = held_out.measure(fitted(*SPLIT).encode)
    assert [(child.child, child.feature) for child in found] == [
        ("count", COUNT),
        ("adjective", ADJ),
        ("number", DIGIT),
    ]
    assert all(child.f1 > 0.95 and child.mass > 0.9 for child in found)
    assert max(child.f1 for child in held_out.measure(narrow().encode)) < 0.8


def test_a_feature_that_lives_elsewhere_is_no_child() -> None:
    held_out = contexts()

    def everywhere(x: torch.Tensor) -> torch.Tensor:
        """Of the hyphen's tokens it fires on the count's alone, and it fires on all other tokens."""
        split = fitted(*SPLIT).encode(x)
        return split[:, [COUNT]] + 10 * (split.sum(1, keepdim=True) == 0)

    assert [child.feature for child in held_out.measure(everywhere)] == [-1, -1, -1]
