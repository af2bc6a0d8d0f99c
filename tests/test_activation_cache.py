"""Activations kept on disk: the same batches without the language model, whatever happens to the files."""

import errno
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saetui.errors import UserError
from saetui.lm.base import LanguageModel
from saetui.split.activations import activation_cache, data
from saetui.split.activations.activation_cache import ActivationCache
from saetui.split.activations.data import ShuffledActivations
from saetui.split.activations.filtered import FilteredRows
from saetui.split.recipe import SplitRecipe
from saetui.split.training.trainer import Trainer
from tests.split_support import hot_feature, recipe, relative, shuffled, world
from tests.tiny import TinyLM, TinyRows

PIECE_ROWS = 100


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saetui.split.activations.filtered.PIECE_TOKENS", PIECE_ROWS * TinyRows.seq_len)


class Said(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


def cached(
    given: SplitRecipe, said: Said | None = None, lm: LanguageModel | None = None
) -> tuple[ShuffledActivations, ActivationCache]:
    usual, rows, narrow = world()
    pieces = FilteredRows(lm or usual, rows, given, narrow)
    cache = ActivationCache(pieces, given, said if said is not None else Said())
    return ShuffledActivations(cache, given, narrow), cache


def batches(source: ShuffledActivations, count: int = 60) -> Tensor:
    return torch.stack([source.next(128) for _ in range(count)])


def forwards() -> int:
    return world()[0].forwards


def plain(given: SplitRecipe) -> Tensor:
    lm, rows, narrow = world()
    return batches(shuffled(lm, rows, given, narrow))


AXES: list[dict[str, Any]] = [
    {"granularity": "row"}, {"granularity": "token"}, {"granularity": "mixed"}, {"data": "all"},
]  # fmt: skip


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_a_second_run_makes_no_forward_and_sees_the_same_batches(axis: dict[str, Any]) -> None:
    given = recipe(**axis)
    expected = plain(given)
    before = forwards()
    first, second = cached(given)[0], cached(given)[0]
    assert torch.equal(batches(first), expected)
    assert forwards() > before
    before = forwards()
    assert torch.equal(batches(second), expected)
    assert forwards() == before
    assert first.tokens_read == second.tokens_read and second.tokens_computed == 0
    once = 2000 * (TinyRows.seq_len - 1)  # the corpus; a second pass over it is read back
    assert first.tokens_computed == min(first.tokens_read, once)


def test_what_shares_a_set_and_what_does_not() -> None:
    target, threshold = hot_feature()

    def key(**values: Any) -> str:
        return cached(recipe(**values))[1].folder.name

    same = {"seed": 3, "init": "random", "loss": "target_zeroed", "buffer_tokens": 4096, "d_sae": 128}
    for name, value in same.items():
        other = {"init": "narrow"} if name == "loss" else {}
        assert key(**{name: value}, **other) == key(), name
    different = {
        "target": (target + 1) % 32,
        "threshold": threshold * 2,
        "granularity": "token",
        "data": "all",
    }
    keys = [key(), *(key(**{name: value}) for name, value in different.items())]
    assert len(set(keys)) == len(keys)
    assert key(granularity="mixed") == key(data="all")  # mixing happens after the cache
    lm, rows, narrow = world()
    given = recipe()
    usual = FilteredRows(lm, rows, given, narrow)
    assert FilteredRows(TinyLM(seed=1), rows, given, narrow).key() != usual.key()
    assert FilteredRows(lm, TinyRows(2000, seed=1), given, narrow).key() != usual.key()
    moved = type(narrow)(narrow.W_enc, narrow.b_enc, narrow.W_dec, narrow.b_dec + 1)
    assert FilteredRows(lm, rows, given, moved).key() != usual.key()


def test_a_wide_sae_trained_on_rounded_activations_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, rows, narrow = world()
    given = recipe(tokens=128 * 200)

    def trained() -> dict[str, Any]:
        trainer = Trainer(given, shuffled(lm, rows, given, narrow), lm.d_in, narrow)
        while not trainer.done:
            trainer.advance()
        return trainer.metrics()

    rounded = trained()
    monkeypatch.setattr(Tensor, "half", lambda x: x)
    monkeypatch.setattr(data, "STORED", torch.float32)
    exact = trained()
    assert rounded["loss"] != exact["loss"]
    for name in ("loss", "fvu", "l0"):
        assert rounded[name] == pytest.approx(exact[name], rel=2e-3), name


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x07"),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"rows":"100"', b'"rows":"101"')),
    ],
    ids=["torn", "empty", "a byte", "the metadata"],
)
def test_a_damaged_piece_is_computed_again(damage: Any) -> None:
    given = recipe()
    expected = batches(cached(given)[0])
    folder = cached(given)[1].folder
    path = folder / "000001.safetensors"
    whole = path.read_bytes()
    damage(path)
    assert path.read_bytes() != whole
    before, said = forwards(), Said()
    assert torch.equal(batches(cached(given, said)[0]), expected)
    assert forwards() - before == -(-PIECE_ROWS // 32)
    assert any("000001.safetensors is damaged" in line for line in said)
    before = forwards()
    assert torch.equal(batches(cached(given)[0]), expected) and forwards() == before


def limit(places: Path, size: float) -> None:
    """Lets all sets together have ``size`` bytes."""
    (places / "settings.toml").write_text(f"cache_gb = {2 * size / 1e9:.9f}\n")


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_was_used_longest_ago_makes_room(isolated_places: Path) -> None:
    first, second, third = (recipe(threshold=hot_feature()[1] * factor) for factor in (1.0, 1.01, 1.02))
    sets = []
    for given in (first, second):
        source, cache = cached(given)
        batches(source)
        sets.append(cache.folder)
        del source, cache  # no longer in use
    batches(cached(first)[0])  # used again
    limit(isolated_places, 2.2 * size(sets[0]))
    source, cache = cached(third)
    batches(source)
    assert sets[0].is_dir() and not sets[1].is_dir() and cache.folder.is_dir()


def test_beyond_the_limit_a_run_computes_and_evicts_no_set_in_use(isolated_places: Path) -> None:
    given, other = recipe(), recipe(data="all")
    expected = plain(other)
    source, cache = cached(given)
    batches(source)
    limit(isolated_places, 1.5 * size(cache.folder))
    for _ in range(2):
        said = Said()
        second, full = cached(other, said)
        before = forwards()
        assert torch.equal(batches(second), expected)
        assert forwards() > before
        assert sum("is full" in line for line in said) == 1
        assert cache.folder.is_dir() and size(cache.folder) + size(full.folder) <= 1.5 * size(cache.folder)
        assert (full.folder / "000000.safetensors").is_file()
    assert source.kept > 0


def test_the_disk_needed_is_said_before_it_starts(isolated_places: Path) -> None:
    given = recipe(tokens=10_000_000, buffer_passes=2)
    said = Said()
    cached(given, said)
    assert len(said) == 1 and "needs 200 MB at most" in said[0] and "limit" not in said[0]
    limit(isolated_places, 100_000_000)
    cached(given, said)
    assert "the limit is 0.1 GB" in said[1]


def test_no_cache_where_the_settings_give_it_no_room(isolated_places: Path) -> None:
    limit(isolated_places, 0)
    given = recipe()
    said = Said()
    assert torch.equal(batches(cached(given, said)[0]), plain(given))
    assert not said and not (isolated_places / "cache").exists()


def test_a_full_disk_is_one_line_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given = recipe()
    expected, said = plain(given), Said()
    source, cache = cached(given, said)
    source.next(128)
    stored = len(list(cache.folder.iterdir()))

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(activation_cache, "write_atomic", full)
    again = cached(given, said)[0]
    assert torch.equal(batches(again), expected)
    assert sum("No space left on device" in line for line in said) == 1
    assert len(list(cache.folder.iterdir())) == stored


def test_a_cache_that_cannot_be_made_is_one_line(isolated_places: Path) -> None:
    (isolated_places / "cache").write_text("not a folder")
    given, said = recipe(), Said()
    assert torch.equal(batches(cached(given, said)[0]), plain(given))
    assert len(said) == 1 and "not kept" in said[0]


def test_a_cache_may_be_deleted_at_any_time(isolated_places: Path) -> None:
    given = recipe()
    expected = plain(given)
    source, _ = cached(given)
    first = batches(source, 25)
    shutil.rmtree(isolated_places / "cache")
    assert torch.equal(torch.cat([first, batches(source, 35)]), expected)


def test_runs_at_once_share_one_pass() -> None:
    given = [recipe(seed=seed) for seed in range(3)]
    lms = [TinyLM() for _ in given]
    results: dict[int, Tensor] = {}

    def run(number: int) -> None:
        results[number] = batches(cached(given[number], lm=lms[number])[0])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        assert torch.equal(results[number], plain(given[number]))
    pieces = len(list(cached(given[0])[1].folder.glob("*.safetensors")))
    assert sum(lm.forwards for lm in lms) == pieces * -(-PIECE_ROWS // 32)


def test_a_wait_for_another_run_can_be_broken_off_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    given = recipe()
    holder, waiting = cached(given)[1], cached(given)[1]

    class Asked(Exception):
        pass

    def poll(read: int) -> None:
        raise Asked

    with holder._turn(0, lambda read: None) as mine:
        assert mine
        with pytest.raises(Asked):
            waiting.read(0, poll)
        monkeypatch.setattr(activation_cache, "PATIENCE_S", 0.0)
        piece = waiting.read(0)
        assert piece.rows == PIECE_ROWS and not waiting._path(0).exists()
    assert torch.equal(waiting.read(0).x, piece.x) and waiting._path(0).exists()


def test_resuming_is_exact_with_and_without_the_cache(isolated_places: Path) -> None:
    given = recipe()
    lm, _, narrow = world()

    def trainers() -> Iterator[Trainer]:
        while True:
            yield Trainer(given, cached(given)[0], lm.d_in, narrow)

    whole, rest, without = (trainer for trainer, _ in zip(trainers(), range(3), strict=False))
    while not whole.done:
        whole.advance()
        if whole.step == 29:
            tensors, values = whole.state()
            saved = {name: tensor.clone() for name, tensor in tensors.items()}
    rest.restore(saved, values)
    while not rest.done:
        rest.advance()
    shutil.rmtree(isolated_places / "cache")
    without.restore(saved, values)
    while not without.done:
        without.advance()
    for other in (rest, without):
        assert all(torch.equal(a, other.core.tensors()[name]) for name, a in whole.core.tensors().items())


def test_a_corpus_that_ends_begins_again_from_the_cache() -> None:
    lm, _, narrow = world()
    rows = TinyRows(250, seed=5)  # two pieces and a half
    given = recipe(buffer_tokens=1024)
    source = ShuffledActivations(ActivationCache(FilteredRows(lm, rows, given, narrow), given), given, narrow)
    source.next(128)
    while source.state().values["tokens_read"] < 3 * 250 * 11:
        source.next(128)
    before = forwards()
    batches(source, 20)
    assert forwards() == before


def test_a_filter_that_keeps_nothing_says_so_from_the_cache_too() -> None:
    given = recipe(threshold=1e6)
    for _ in range(2):
        with pytest.raises(UserError, match="never fires above"):
            cached(given)[0].next(128)


def test_rounding_is_what_fp16_says() -> None:
    lm, rows, narrow = world()
    piece = FilteredRows(lm, rows, recipe(data="all"), narrow).read(0)
    x = lm.activations(torch.from_numpy(rows.tokens[:PIECE_ROWS].astype("int64")))[:, 1:].flatten(0, 1)
    assert relative(piece.x.float(), x) < 2**-11
    row, position = piece.places // rows.seq_len, piece.places % rows.seq_len
    assert position.min() == 1 and torch.equal(row.unique(), torch.arange(PIECE_ROWS))
