"""A run over rows that the feature index has read: the same bits, without the language model."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from saetui.errors import UserError
from saetui.features.index import FeatureIndex
from saetui.features.row_store import RowStore
from saetui.settings import cache_root
from saetui.split.activations.activation_cache import ActivationCache
from saetui.split.activations.data import ShuffledActivations
from saetui.split.activations.filtered import FilteredRows
from saetui.split.activations.indexed import check_fires, open_indexed
from tests.split_support import recipe, shuffled, world
from tests.tiny import TinyLM, TinyRows

PIECE_ROWS = 100
ALL = 10**9
AXES: list[dict[str, Any]] = [
    {"granularity": "row"}, {"granularity": "token"}, {"granularity": "mixed"}, {"data": "all"},
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saetui.split.activations.filtered.PIECE_TOKENS", PIECE_ROWS * TinyRows.seq_len)


@pytest.fixture
def index() -> Iterator[FeatureIndex]:
    lm, rows, narrow = world()
    store = RowStore(lm, rows)
    yield FeatureIndex(store, narrow)
    store.close()


def said() -> list[str]:
    lines: list[str] = []
    open_indexed(*world()[:2], lines.append)
    return lines


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_the_same_batches_without_the_language_model(axis: dict[str, Any], index: FeatureIndex) -> None:
    lm, rows, narrow = world()
    given = recipe(**axis)
    plain = shuffled(lm, rows, given, narrow)
    expected = torch.stack([plain.next(128) for _ in range(60)])
    index.build(ALL)
    store = open_indexed(lm, rows)
    cache = ActivationCache(FilteredRows(lm, rows, given, narrow, store), given)
    source = ShuffledActivations(cache, given, narrow)
    before = lm.forwards
    assert torch.equal(torch.stack([source.next(128) for _ in range(60)]), expected)
    assert lm.forwards == before and source.tokens_computed == 0
    assert source.tokens_read == plain.tokens_read and source.kept == plain.kept
    assert not list(cache.folder.glob("*.safetensors")), "what the index has is not stored twice"


def test_beyond_what_is_stored_pieces_are_computed(index: FeatureIndex) -> None:
    lm, rows, narrow = world()
    index._step_rows = 50
    index.build(250 * (rows.seq_len - 1))
    store = open_indexed(lm, rows)
    assert store and store.activation_rows == 250
    plain, stored = (FilteredRows(lm, rows, recipe(), narrow, one) for one in (None, store))
    index.build(ALL)  # what is stored meanwhile is not seen: which pieces are computed does not depend on it
    computed = []
    for number in range(4):
        a, b = plain.read(number), stored.read(number)
        assert torch.equal(a.x, b.x) and torch.equal(a.places, b.places)
        assert (a.rows, a.strongest) == (b.rows, b.strongest)
        computed.append(b.computed)
    assert computed == [False, False, True, True]


def test_the_end_of_the_corpus(index: FeatureIndex) -> None:
    """The last piece has fewer rows, and the one behind it none."""
    lm, rows, narrow = world()
    index.build(ALL)
    pieces = FilteredRows(lm, rows, recipe(), narrow, open_indexed(lm, rows))
    last = len(rows.tokens) // PIECE_ROWS
    assert not pieces.read(last - 1).computed and pieces.read(last).rows == 0


def test_what_the_model_does_not_compute_is_not_used(index: FeatureIndex) -> None:
    index.build(ALL)
    assert "need no language model" in said()[0]
    index.close()
    index.store.close()
    path = index.store.folder / "activations.f16"
    stored = np.memmap(path, np.float16, "r+", shape=(2000, 12, 16))
    stored[-1, 5, 3] += 0.5
    stored.flush()
    assert "is not used" in said()[0]
    lm, rows, _ = world()
    assert open_indexed(lm, rows) is None


def test_a_threshold_above_all_that_was_indexed_is_refused_before_anything_is_read(
    index: FeatureIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, rows, narrow = world()
    store = RowStore(lm, rows, writes=False)
    said: list[str] = []

    def check(**changes: Any) -> list[str]:
        said.clear()
        check_fires(store, narrow, recipe(**changes), said.append)
        return said

    assert not check(threshold=1e6)  # nothing is indexed, nothing is known
    index._step_rows = 50
    index.build(250 * (rows.seq_len - 1))
    assert not check() and not check(threshold=1e6, data="all")
    strongest = float(index.highest()[recipe().target])
    assert (
        f"on the 2,750 tokens read of tiny rows (its strongest activation there: {strongest:.3g})"
        in (check(threshold=1e6)[0])
    )
    assert not check(threshold=strongest)  # it is fp16 of what may have been larger
    monkeypatch.setattr("saetui.split.activations.indexed.ENOUGH", 2_000)
    with pytest.raises(UserError, match=r"never fires above 1e\+06 .*--threshold"):
        check(threshold=1e6)


def test_reading_takes_no_lock_and_makes_no_folder(index: FeatureIndex) -> None:
    lm, rows, _ = world()
    other = TinyLM(seed=1)
    assert open_indexed(other, rows) is None
    assert len(list((cache_root() / "index").iterdir())) == 1
    index.build(3000)
    index.close()
    index.store.close()
    assert open_indexed(lm, rows)
    again = RowStore(lm, rows)
    assert again._lock
    again.close()
