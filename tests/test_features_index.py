"""The index over a corpus, against the same numbers computed the plain way over all tokens at once."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saetui.errors import UsageError
from saetui.features import row_store
from saetui.features.best import BestPerFeature, Entries
from saetui.features.index import FeatureIndex
from saetui.features.row_store import RowStore
from saetui.features.statistics import BINS, TOP, FeatureStatistics
from saetui.sae.sae import SAE
from tests.tiny import SEQ_LEN, TinyLM, TinyRows, tiny_sae

TOKENS_PER_ROW = SEQ_LEN - 1


def all_activations(lm: TinyLM, sae: SAE, rows: TinyRows) -> torch.Tensor:
    """``[rows, seq, d_sae]``, with the store's rounding to fp16."""
    x = lm.activations(torch.from_numpy(rows.tokens.astype(np.int64)))
    return sae.encode(x.half().float())


def opened(root: Path, rows: TinyRows | None = None, sae: SAE | None = None) -> tuple[TinyLM, FeatureIndex]:
    lm = TinyLM()
    return lm, FeatureIndex(RowStore(lm, rows or TinyRows(), root), sae or tiny_sae())


def test_equals_brute_force(tmp_path: Path):
    rows, sae = TinyRows(), tiny_sae()
    lm, index = opened(tmp_path, rows, sae)
    index.build(10**9)
    f = all_activations(lm, sae, rows)
    f[:, 0] = 0  # BOS counts nowhere
    assert index.tokens_read == 700 * TOKENS_PER_ROW and index.complete
    densities = index.densities()
    for feature in range(sae.d_sae):
        flat = f[..., feature].flatten()
        values, places = flat.sort(descending=True, stable=True)
        found = index.contexts(feature, top=TOP)
        fired = int((flat > 0).sum())
        assert found.fired == fired == sum(found.histogram)
        assert found.density == densities.density[feature] == fired / (700 * TOKENS_PER_ROW)
        assert len(found.top) == min(TOP, fired)
        where = [(context.row, context.position) for context in found.top]
        assert where == [divmod(int(place), SEQ_LEN) for place in places[: len(where)]]
        assert [c.activation for c in found.top] == pytest.approx(values[: len(where)].tolist(), rel=1e-5)
        edges = torch.tensor(found.edges)
        if fired:
            assert found.max_activation == pytest.approx(float(values[0]), rel=1e-5)
            assert densities.max_activation[feature] == found.max_activation
            counted = torch.histogram(flat[flat > 0], edges).hist
            # torch closes bins on the left, the index on the right: the same off the edges
            assert found.histogram == counted.int().tolist()
    assert index.contexts(sae.d_sae - 1).top == []


def test_context_windows(tmp_path: Path):
    rows, sae = TinyRows(), tiny_sae()
    lm, index = opened(tmp_path, rows, sae)
    index.build(2000)
    f = all_activations(lm, sae, rows)
    forwards = lm.forwards
    found = index.contexts(3, top=30, before=2, after=3)
    assert lm.forwards == forwards, "an indexed context needs no forward"
    for context in found.top:
        start = context.position - context.center
        stop = start + len(context.tokens)
        assert start == max(1, context.position - 2) and stop == min(SEQ_LEN, context.position + 4)
        expected = [lm.tokenizer.token_str(t) for t in rows.tokens[context.row, start:stop]]
        assert context.tokens == expected
        assert context.activations == pytest.approx(f[context.row, start:stop, 3].tolist(), abs=1e-4)
    longer = index.contexts(3, top=30, before=100, after=100)
    assert all(len(context.tokens) == SEQ_LEN - 1 for context in longer.top)


def test_quantile_intervals(tmp_path: Path):
    _, index = opened(tmp_path)
    index.build(10**9)
    found = index.contexts(3, intervals=4, per_interval=6)
    assert len(found.intervals) == 4
    assert sum(interval.count for interval in found.intervals) == found.fired
    for stronger, weaker in pairwise(found.intervals):
        assert stronger.low == weaker.high
    for interval in found.intervals:
        assert interval.count == pytest.approx(found.fired / 4, rel=0.35)
        assert len(interval.contexts) == 6
        activations = [context.activation for context in interval.contexts]
        assert activations == sorted(activations, reverse=True)
        assert all(interval.low < a <= interval.high for a in activations)


def test_sample_is_uniform(tmp_path: Path):
    """The sample's mean activation lies where that of a uniform sample lies."""
    rows, sae = TinyRows(4000), tiny_sae()
    lm, index = opened(tmp_path, rows, sae)
    index.build(10**9)
    f = all_activations(lm, sae, rows)[:, 1:]
    scores = []
    for feature in range(sae.d_sae - 1):
        firing = f[..., feature][f[..., feature] > 0]
        sample = index.statistics.sample.of(feature).activation
        if len(firing) > 4 * len(sample):
            scores.append(((sample.mean() - firing.mean()) / (firing.std() / len(sample) ** 0.5)).item())
    assert len(scores) > 5
    assert abs(np.mean(scores)) < 4 / len(scores) ** 0.5 and np.std(scores) < 2


def state(index: FeatureIndex) -> dict[str, torch.Tensor]:
    return index.statistics.tensors()


def test_resumed_equals_uninterrupted(tmp_path: Path):
    _, whole = opened(tmp_path / "whole")
    _, first = opened(tmp_path / "cut")
    whole._step_rows = first._step_rows = 64
    whole.build(10**9)
    first.build(3000)
    saved = first.tokens_read
    first.wanted = 10**9
    first.advance()  # lost: not saved
    for lock in (first._lock, first.store._lock):  # what the kernel does for a killed process
        assert lock is not None
        lock.close()
    _, second = opened(tmp_path / "cut")
    assert second.tokens_read == saved < first.tokens_read
    second._step_rows = 64
    second.build(10**9)
    for name, value in state(whole).items():
        assert torch.equal(value, state(second)[name]), name


def test_reloaded_answers_without_the_model(tmp_path: Path):
    _, index = opened(tmp_path)
    index.build(3000)
    before = index.contexts(5)
    index.close()
    index.store.close()
    lm, reloaded = opened(tmp_path)
    reloaded.wanted = 3000
    assert reloaded.contexts(5) == before
    assert lm.forwards == 0


def test_other_dictionary_reuses_activations(tmp_path: Path):
    lm, index = opened(tmp_path)
    index.build(3000)
    forwards = lm.forwards
    other = FeatureIndex(index.store, tiny_sae(seed=7, d_sae=64), "wide")
    other.build(3000)
    assert lm.forwards == forwards
    assert other.contexts(1).tokens_read >= 3000


def test_second_process_computes_in_memory(tmp_path: Path):
    """Who does not hold the lock starts from what is saved and reads on by itself."""
    _, writer = opened(tmp_path)
    writer.build(2000)
    stored = writer.store.token_rows
    _, reader = opened(tmp_path)
    reader.build(6000)
    assert reader.tokens_read >= 6000 and reader.store.token_rows == stored == writer.rows_read
    writer.build(6000)
    for name, value in state(writer).items():
        assert torch.equal(value, state(reader)[name]), name


def test_hot_tokens(tmp_path: Path):
    rows, sae = TinyRows(), tiny_sae(bias=-1.0)
    lm, index = opened(tmp_path, rows, sae)
    index.build(10**9)
    f = all_activations(lm, sae, rows)[..., 3]
    f[:, 0] = 0
    hot = index.hot_tokens(3, threshold=1.0, limit=10**6)
    expected = (f > 1.0).nonzero()
    assert torch.equal(torch.stack([hot.row, hot.position], -1), expected) and len(expected) > 100
    assert torch.allclose(hot.activation, f[f > 1.0], atol=1e-4)
    assert torch.allclose(sae.encode_feature(hot.x, 3), hot.activation, atol=1e-5)
    few = index.hot_tokens(3, threshold=1.0, limit=7)
    assert torch.equal(few.x, hot.x[:7])
    none = index.hot_tokens(sae.d_sae - 1, threshold=0.0, limit=7)
    assert none.x.shape == (0, 16) and len(none.row) == 0


def test_beyond_the_budget_nothing_changes(tmp_path: Path):
    """Rows whose activations were not stored are computed again, with the same answers."""
    _, whole = opened(tmp_path / "whole")
    whole.build(10**9)
    lm = TinyLM()
    store = RowStore(lm, TinyRows(), tmp_path / "small")
    store._most_rows = 200
    small = FeatureIndex(store, tiny_sae())
    small.build(10**9)
    assert store.activation_rows < 200 < store.token_rows
    expected, found = whole.contexts(3), small.contexts(3)
    assert [(c.row, c.position, c.tokens) for c in found.top] == [
        (c.row, c.position, c.tokens) for c in expected.top
    ]
    for a, b in zip(found.top, expected.top, strict=True):
        assert a.activations == pytest.approx(b.activations, abs=1e-3)


def test_full_disk_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class FullDisk:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            raise OSError(28, "No space left on device")

    _, index = opened(tmp_path)
    index._step_rows = 64
    index.advance()
    index.store._files = tuple(FullDisk(file) for file in index.store._files)  # pyright: ignore
    index.build(10**9)
    assert "No space left" in index.store.warning
    assert index.complete and index.contexts(3).tokens_read == 700 * TOKENS_PER_ROW


def test_full_disk_when_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    _, index = opened(tmp_path)
    monkeypatch.setattr("saetui.features.index.write_atomic", full)
    index.build(3000)
    assert "No space left" in index.store.warning and index.contexts(3).tokens_read >= 3000


def test_empty_index_is_saved_and_read(tmp_path: Path):
    _, index = opened(tmp_path)
    index.close()
    index.store.close()
    _, again = opened(tmp_path)
    assert again.tokens_read == 0 and again.contexts(3).top == []


def test_damaged_files_are_rebuilt(tmp_path: Path):
    _, index = opened(tmp_path)
    index.build(3000)
    expected = index.contexts(3)
    index.close()
    index.store.close()
    index._file.write_bytes(b"torn")
    (index.store.folder / "activations.f16").write_bytes(b"short")
    (index.store.folder / "rows.json").write_text("{")
    _, again = opened(tmp_path)
    assert again.tokens_read == 0
    again.build(3000)
    assert again.contexts(3) == expected


def test_stores_used_longest_ago_go_first(tmp_path: Path, isolated_places: Path):
    def used(seed: int) -> Path:
        store = RowStore(TinyLM(seed), TinyRows(), tmp_path)
        FeatureIndex(store, tiny_sae()).build(10**9)
        store.close()
        return store.folder

    folders = [used(0), used(1), used(2)]
    used(0)  # again: nothing is written
    size = sum(file.stat().st_size for file in folders[0].rglob("*") if file.is_file())
    (isolated_places / "settings.toml").write_text(f"cache_gb = {2 * 2.2 * size / 1e9:.9f}\n")
    folders.append(used(3))
    assert [folder.exists() for folder in folders] == [True, False, True, True]


@pytest.mark.parametrize(
    "opened_first", [False, True], ids=["before its lock is opened", "before it is held"]
)
def test_a_store_that_another_process_removes_as_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened_first: bool
) -> None:
    folder, lock = RowStore(TinyLM(), TinyRows(), tmp_path, writes=False).folder, row_store.try_locked
    removals = [folder]

    def interrupted(path: Path) -> BinaryIO | None:
        early = lock(path) if opened_first else None
        if removals:
            shutil.rmtree(removals.pop())
            return early if opened_first else lock(path)
        return early or lock(path)

    monkeypatch.setattr(row_store, "try_locked", interrupted)
    store = RowStore(TinyLM(), TinyRows(), tmp_path)
    store.read(0, 3)
    store.close()
    assert not removals and RowStore(TinyLM(), TinyRows(), tmp_path, writes=False).activation_rows == 3


def test_what_is_read_without_the_lock_stays_when_the_store_is_removed(tmp_path: Path) -> None:
    store = RowStore(TinyLM(), TinyRows(), tmp_path)
    x = store.read(0, 3)
    store.save()
    other = RowStore(TinyLM(), TinyRows(), tmp_path)  # no lock: the first has it
    shutil.rmtree(store.folder)
    assert other.activation_rows == 3 and torch.equal(other.read(0, 3), x)


def test_key_tells_models_and_rows_apart(tmp_path: Path):
    keys = {
        RowStore(TinyLM(0), TinyRows(), tmp_path).folder,
        RowStore(TinyLM(1), TinyRows(), tmp_path).folder,
        RowStore(TinyLM(0), TinyRows(seed=1), tmp_path).folder,
    }
    assert len(keys) == 3


def test_feature_out_of_range(tmp_path: Path):
    _, index = opened(tmp_path)
    with pytest.raises(UsageError, match=r"feature 40 is out of range: narrow has features 0 to 39"):
        index.contexts(40)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 2**31), st.integers(1, 9))
def test_best_is_independent_of_cuts(cuts: list[int], seed: int, k: int):
    """Few distinct scores, so that ties are common."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(cuts)
    feature = torch.randint(0, 5, (n,), generator=generator)
    score = torch.randint(1, 8, (n,), generator=generator).float()
    entries = Entries(feature, torch.arange(n), score, score * 2)
    best = BestPerFeature(5, k)
    start = 0
    for cut in cuts:
        best.offer(entries[slice(start, start + cut)])
        start += cut
    for f in range(5):
        mine = (feature == f).nonzero().flatten()
        expected = mine[torch.argsort(score[mine], descending=True, stable=True)][:k]
        found = best.of(f)
        assert torch.equal(found.place, expected) and torch.equal(found.activation, score[expected] * 2)


def test_histogram_edges_are_exact():
    """Activations on the edges of bins, of all magnitudes, in rising and in falling order."""
    values = torch.tensor(
        [2.0**e * i / BINS for e in (-9, -1, 0, 3, 8) for i in (1, 2, 63, 64, 65, 127, 128)]
    )
    for order in (values, values.flip(0)):
        statistics = FeatureStatistics(1)
        for place, value in enumerate(order):
            statistics.add(value.reshape(1, 1), torch.tensor([place]))
        counts = statistics.counts(0)
        assert counts.bin_width == 2.0**8 / BINS and counts.fired == len(values)
        edges = [i * counts.bin_width for i in range(BINS + 1)]
        expected = [sum(low < v <= high for v in values.tolist()) for low, high in pairwise(edges)]
        assert counts.histogram == expected
