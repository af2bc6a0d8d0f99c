"""Where features fire: hot tokens and kept shares looked up, against a scan of everything."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saetui.features import index, postings
from saetui.features.index import FeatureIndex
from saetui.features.results import Kept
from saetui.features.row_store import RowStore
from tests.tiny import SEQ_LEN, TinyLM, TinyRows, tiny_sae

ROWS = 700
ALL = 10**9
PER_ROW = SEQ_LEN - 1


def opened(root: Path) -> FeatureIndex:
    return FeatureIndex(RowStore(TinyLM(), TinyRows(ROWS), root), tiny_sae(bias=-1.0))


def feature_activations(feature: int) -> torch.Tensor:
    """``[rows, seq]``, BOS silent."""
    x = TinyLM().activations(torch.from_numpy(TinyRows(ROWS).tokens.astype(np.int64)))
    f = tiny_sae(bias=-1.0).encode(x.half().float())[..., feature]
    f[:, 0] = 0
    return f


def no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(store: RowStore, start: int) -> list[Any]:
        assert start >= store.activation_rows, "the store was scanned"
        return []

    monkeypatch.setattr(index, "stored_tokens", scan)


def scanned(root: Path, threshold: float, limit: int) -> index.HotTokens:
    """As found without any firings."""
    one = opened(root)
    one._step_rows = 50
    one.postings._adds = False
    one.build(ALL)
    assert len(one.postings.of(3)[0]) == 0
    return one.hot_tokens(3, threshold, limit)


def same(a: index.HotTokens, b: index.HotTokens) -> bool:
    assert torch.allclose(a.activation, b.activation, atol=1e-5)
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("x", "row", "position"))


@pytest.mark.parametrize(("threshold", "limit"), [(1.0, ALL), (0.0, ALL), (2.5, ALL), (1.0, 40), (1e9, ALL)])
def test_hot_tokens_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: float, limit: int
) -> None:
    expected = scanned(tmp_path / "scanned", threshold, limit)
    one = opened(tmp_path / "kept")
    one.build(ALL)
    no_scan(monkeypatch)
    found = one.hot_tokens(3, threshold, limit)
    assert same(found, expected) and len(found.x) == min(
        limit, int((feature_activations(3) > threshold).sum())
    )
    one.close()
    one.store.close()
    again = opened(tmp_path / "kept")
    assert same(again.hot_tokens(3, threshold, limit), expected)
    if limit == ALL:
        assert found.tokens_read == ROWS * PER_ROW


def test_during_the_pass_they_are_those_read_so_far(tmp_path: Path) -> None:
    one = opened(tmp_path)
    one._step_rows = 50
    one.wanted = ALL
    f = feature_activations(3)
    for rows in (0, 50, 100, 150):
        found = one.hot_tokens(3, 1.0, ALL)
        assert torch.equal(torch.stack([found.row, found.position], -1), (f[:rows] > 1.0).nonzero())
        assert found.tokens_read == rows * PER_ROW
        one.advance()


def test_of_a_feature_that_fires_too_often_the_rest_is_scanned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = scanned(tmp_path / "scanned", 1.0, ALL)
    monkeypatch.setattr(postings, "MOST_OF_ONE", 100)
    one = opened(tmp_path / "bounded")
    one._step_rows = 50
    one.build(ALL)
    kept, _ = one.postings.of(3)
    assert 100 <= len(kept) < 250 and one.postings.until(3) < ROWS * SEQ_LEN
    assert same(one.hot_tokens(3, 1.0, ALL), expected)
    read = one.postings.until(3) // SEQ_LEN
    assert one.kept(3, 1.0).tokens_read == read * PER_ROW
    assert one.kept(3, 1.0).rows == float((feature_activations(3)[:read] > 1.0).any(1).double().mean())


def test_what_a_filter_keeps(tmp_path: Path) -> None:
    one = opened(tmp_path)
    assert one.kept(3, 1.0) == Kept(0, 0.0, 0.0)
    one.build(ALL)
    hot = feature_activations(3) > 1.0
    kept = one.kept(3, 1.0)
    assert kept.tokens_read == ROWS * PER_ROW
    assert kept.tokens == pytest.approx(int(hot.sum()) / kept.tokens_read)
    assert kept.rows == pytest.approx(float(hot.any(1).double().mean()))
    assert one.kept(one.encoder.d_sae - 1, 0.0).rows == 0


def test_blocks_and_the_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans of few places, each over several steps and several to a step."""
    monkeypatch.setattr(postings, "_SPAN", 128)
    one = opened(tmp_path)
    for rows in (3, 40, 5):
        one._step_rows = rows
        one.wanted = (one.rows_read + 120) * PER_ROW
        while not one.complete:
            one.advance()
    assert len(one.postings._state.blocks) > 10
    places, activations = one.postings.of(3)
    f = feature_activations(3)[: one.rows_read].flatten()
    assert np.array_equal(places, (f > 0).nonzero().flatten().numpy())
    assert np.allclose(activations, f[f > 0].numpy(), rtol=1e-3)


def test_a_torn_file_is_built_anew(tmp_path: Path) -> None:
    one = opened(tmp_path)
    one.build(ALL)
    expected = one.hot_tokens(3, 1.0, ALL)
    one.close()
    one.store.close()
    os.truncate(one.postings.path, 100)
    again = opened(tmp_path)
    assert again.rows_read == 0 and len(again.postings.of(3)[0]) == 0
    again.build(ALL)
    assert same(again.hot_tokens(3, 1.0, ALL), expected)


def test_a_full_disk_is_one_line_and_the_rest_is_scanned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = scanned(tmp_path / "scanned", 1.0, ALL)

    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(28, "No space left on device")

    one = opened(tmp_path / "full")
    one._step_rows = 50
    one.build(2000)
    monkeypatch.setattr(os, "pwrite", full)
    one.build(ALL)
    assert "No space left" in one.store.warning and one.complete
    assert same(one.hot_tokens(3, 1.0, ALL), expected)
    monkeypatch.undo()


def test_after_a_full_disk_no_list_has_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has room again when the pass goes on: behind the gap nothing is kept, and all is found."""
    expected = scanned(tmp_path / "scanned", 1.0, ALL)
    one = opened(tmp_path / "full")
    one._step_rows = 50
    one.build(2000)
    kept = one.postings.stop

    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        one.build(4000)
    one.close()
    one.store.close()
    again = opened(tmp_path / "full")
    again._step_rows = 50
    again.build(ALL)
    assert again.postings.until(3) == kept and again.rows_read == ROWS
    assert same(again.hot_tokens(3, 1.0, ALL), expected)


BUILD = """
import sys, time
from pathlib import Path
from saetui.features import index
from tests.test_features_postings import ALL, opened

index.SAVE_EVERY = 0.0
one = opened(Path(sys.argv[1]))
one._step_rows = 10
one.build(ALL, lambda done, total: (print(done, flush=True), time.sleep(0.02)))
"""


def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    """SIGKILL in the middle, several times; then to the end, to the same numbers as in one go."""
    reached = []
    for seconds in (0.05, 0.1, 0.15):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        first = int(process.stdout.readline())
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        reached.append(first)
    assert reached == sorted(reached) and reached[0] < reached[-1] < ROWS * PER_ROW
    killed, whole = opened(tmp_path / "killed"), opened(tmp_path / "whole")
    assert 0 < killed.rows_read < ROWS
    for one in (killed, whole):
        one._step_rows = 10
        one.build(ALL)
    for name, value in whole.statistics.tensors().items():
        assert torch.equal(value, killed.statistics.tensors()[name]), name
    for feature in range(whole.encoder.d_sae):
        assert all(
            np.array_equal(a, b)
            for a, b in zip(whole.postings.of(feature), killed.postings.of(feature), strict=True)
        )
