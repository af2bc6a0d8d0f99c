"""Held-out rows that are read once: the same answers, and no forward the second time."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from saetui.corpus.grammar import SyntheticRows
from saetui.corpus.rows import FirstRows
from saetui.features.stored_lm import reading_stored
from saetui.lm.direct import DirectModel
from saetui.split.judging.criteria import load_criteria
from saetui.split.judging.expected import ExpectedChildren
from saetui.split.judging.judge import judge
from tests.labelled import CRITERIA_FILE, SPLIT, fitted, synthetic_lm

ROWS = SyntheticRows("eval")
TOKENS = 20_000


@dataclass
class Counted:
    """The model, counting the rows that go through it."""

    lm: DirectModel
    forwards: list[int] = field(default_factory=list[int])

    def __getattr__(self, name: str) -> object:
        return getattr(self.lm, name)

    def activations(self, tokens: Tensor) -> Tensor:
        self.forwards.append(len(tokens))
        return self.lm.activations(tokens)


@pytest.fixture
def lm() -> Counted:
    return Counted(synthetic_lm())


def tensor(tokens: np.ndarray) -> Tensor:
    return torch.from_numpy(tokens.astype(np.int64))


def test_rows_read_before_come_from_the_disk_in_any_order(lm: Counted) -> None:
    tokens = tensor(ROWS.read(0, 300))
    with reading_stored(lm, ROWS, TOKENS) as stored:  # type: ignore[arg-type]
        first = torch.cat([stored.activations(tokens[i : i + 100]) for i in (0, 100, 200)])
    assert torch.equal(first, synthetic_lm().activations(tokens).half().float())
    lm.forwards.clear()
    with reading_stored(lm, ROWS, TOKENS) as stored:  # type: ignore[arg-type]
        assert torch.equal(stored.activations(tokens), first)
        some = torch.tensor([250, 3, 77])
        assert torch.equal(stored.activations(tokens[some]), first[some])
    assert lm.forwards == []


def test_other_rows_are_the_models_own(lm: Counted) -> None:
    beyond = tensor(ROWS.read(5_000, 2))
    with reading_stored(lm, ROWS, TOKENS) as stored:  # type: ignore[arg-type]
        prompt = tensor(ROWS.read(0, 1))[:, :9]
        for tokens in (beyond, prompt):
            assert torch.equal(stored.activations(tokens), synthetic_lm().activations(tokens))


def test_a_cache_that_cannot_be_written_is_done_without(
    lm: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAETUI_CACHE", str(tmp_path / "file"))
    with reading_stored(lm, ROWS, TOKENS) as stored:  # type: ignore[arg-type]
        assert stored is lm


def test_a_second_verdict_needs_the_model_for_its_prompts_alone(lm: Counted) -> None:
    criteria = load_criteria(CRITERIA_FILE)
    split = fitted(*SPLIT)
    plain = judge(synthetic_lm(), split, criteria, ROWS)
    expected = ExpectedChildren(lm, criteria, ROWS, None)  # type: ignore[arg-type]
    assert expected.passed(split, None) == {"passed": ["count", "adjective", "number"]}
    assert sum(lm.forwards) > 4_000
    lm.forwards.clear()
    assert expected.passed(fitted(*SPLIT[1:]), None) == {"passed": ["adjective", "number"]}
    assert set(lm.forwards) == {1}, "a prompt each"
    assert expected.passed(split, None, candidates=[1, 2]) == {"passed": ["adjective", "number"]}
    assert plain.passed == 3


def test_first_rows_are_the_same_rows_whether_kept_or_not() -> None:
    kept = FirstRows(ROWS, 50)
    for start, count in ((0, 50), (10, 7), (40, 30), (60, 5)):
        assert np.array_equal(kept.read(start, count), ROWS.read(start, count))
    assert (kept.fingerprint, kept.seq_len, kept.bos) == (ROWS.fingerprint, ROWS.seq_len, ROWS.bos)
