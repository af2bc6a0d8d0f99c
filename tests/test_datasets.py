"""Data: hub caches and local files of every kind as rows of tokens, by position, held-out rows apart."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from datasets import Dataset, DatasetDict

from saetui.corpus import packed
from saetui.corpus.files import open_files
from saetui.corpus.hub import open_hub
from saetui.corpus.rows import TokenRows, batches
from saetui.corpus.tables import held_out
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from tests.hub_cache import TEXT, add_file, add_repo, small_tokenizer

TOKENIZER = Tokenizer(small_tokenizer())
BOS, EOS = 1, 0
LENGTH = 64


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    return tmp_path


def token_table(rows: int = 120, length: int = LENGTH, d_vocab: int = 300, seed: int = 0) -> Dataset:
    """Rows as c4-code-tokenized-2b has them: one long list of ids each, BOS at its start."""
    tokens = np.random.default_rng(seed).integers(3, d_vocab, (rows, length))
    tokens[:, 0] = BOS
    return Dataset.from_dict({"tokens": tokens.tolist()})


def text_table(documents: int = 200) -> Dataset:
    texts = [f"Document {i}: {TEXT[i % len(TEXT)]}" for i in range(documents)]
    return Dataset.from_dict({"text": texts, "source": ["c4"] * documents})


def everything(rows: TokenRows) -> np.ndarray:
    return np.concatenate(list(batches(rows, 0, None, 7)))


def add_prepared(cache: Path, repo: str, table: Dataset) -> None:
    """A data set as ``datasets`` leaves it once it was loaded from the hub: Arrow in two shards, and
    ``dataset_info.json``, under owner___name/config/version/revision."""
    owner, name = repo.split("/")
    folder = cache / f"{owner}___{name.lower()}" / "default" / "0.0.0" / ("ab" * 20)
    folder.mkdir(parents=True)
    half = len(table) // 2
    for part, (start, stop) in enumerate([(0, half), (half, len(table))]):
        shard = table.select(range(start, stop))
        path = folder / f"{name}-train-{part:05d}-of-00002.arrow"
        with (
            pyarrow.OSFile(str(path), "wb") as sink,
            pyarrow.ipc.new_stream(sink, table.data.schema) as writer,
        ):
            writer.write_table(shard.with_format("arrow")[:])
    split = {
        "name": "train",
        "num_bytes": 1,
        "num_examples": len(table),
        "shard_lengths": [half, len(table) - half],
        "dataset_name": name,
    }
    info = {
        "builder_name": "parquet",
        "dataset_name": name,
        "config_name": "default",
        "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
        "splits": {"train": split},
        "features": table.features.to_dict(),
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))


def test_tokenised_hub_data_from_the_cache_of_datasets(caches: Path):
    """c4-code-tokenized-2b: rows of 1024 cut into 128, BOS written over each piece's first token."""
    table = token_table(rows=120)
    add_prepared(caches / "datasets", "NeelNanda/c4-code-tokenized-2b", table)
    rows = open_hub("NeelNanda/c4-code-tokenized-2b", TOKENIZER, 16, "train")
    assert (rows.name, rows.seq_len, rows.bos) == ("NeelNanda/c4-code-tokenized-2b", 16, True)
    read = everything(rows)
    expected = np.array(table["tokens"])[: 120 - held_out(120)].reshape(-1, 16)
    expected[:, 0] = BOS
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, expected)


def test_hub_data_from_the_hub_clients_cache(caches: Path):
    """`hf download` alone leaves Parquet files, which `datasets` does not find by itself offline."""
    table = token_table()
    snapshot = add_repo(caches / "hub", "NeelNanda/c4-code-tokenized-2b", kind="datasets")
    for part in range(2):
        path = caches / "part.parquet"
        pyarrow.parquet.write_table(
            table.select(range(part * 60, part * 60 + 60)).with_format("arrow")[:], path
        )
        add_file(snapshot, f"data/train-{part:05d}-of-00002.parquet", path.read_bytes())
    rows = open_hub("NeelNanda/c4-code-tokenized-2b", TOKENIZER, LENGTH, "train")
    np.testing.assert_array_equal(everything(rows), np.array(table["tokens"])[:118])


def test_hub_data_that_is_in_no_cache():
    with pytest.raises(UserError, match="hf download NeelNanda/nothing --repo-type dataset") as caught:
        open_hub("NeelNanda/nothing", TOKENIZER, 16, "train")
    assert "\n" not in str(caught.value)


def test_text_hub_data(caches: Path):
    """c4-code-20k: documents joined by end-of-text and packed behind a BOS."""
    table = text_table(200)
    add_prepared(caches / "datasets", "NeelNanda/c4-code-20k", table)
    rows = open_hub("NeelNanda/c4-code-20k", TOKENIZER, 32, "train")
    read = everything(rows)
    ids = [id for text in table["text"][:196] for id in [*TOKENIZER.encode(text), EOS]]
    assert len(read) == len(ids) // 31
    assert (read[:, 0] == BOS).all()
    np.testing.assert_array_equal(read[:, 1:].ravel(), ids[: len(read) * 31])


def write(kind: str, folder: Path, table: Dataset) -> Path:
    folder.mkdir(exist_ok=True)
    if kind == "saved":
        DatasetDict({"train": table}).save_to_disk(str(folder / "saved"))
        return folder / "saved"
    path = folder / f"data.{kind}"
    if kind == "parquet":
        table.to_parquet(path)
    elif kind == "jsonl":
        table.to_json(path)
    elif kind == "arrow":
        with (
            pyarrow.OSFile(str(path), "wb") as sink,
            pyarrow.ipc.new_stream(sink, table.data.schema) as writer,
        ):
            writer.write_table(table.with_format("arrow")[:])
    return path


@pytest.mark.parametrize("kind", ["arrow", "parquet", "jsonl", "saved"])
@pytest.mark.parametrize("of_text", [False, True])
def test_local_files_of_every_kind_hold_the_same_rows(kind: str, of_text: bool, tmp_path: Path):
    table = text_table() if of_text else token_table()
    reference = everything(open_files(write("parquet", tmp_path / "other", table), TOKENIZER, 16, "train"))
    path = write(kind, tmp_path / "data", table)
    for source in (path, path.parent):
        np.testing.assert_array_equal(everything(open_files(source, TOKENIZER, 16, "train")), reference)


def test_plain_text_by_paragraphs(tmp_path: Path):
    paragraphs = [f"Paragraph {i}. {TEXT[i % len(TEXT)]}" for i in range(100)]
    (tmp_path / "book.txt").write_text("\n\n".join(paragraphs))
    rows = everything(open_files(tmp_path / "book.txt", TOKENIZER, 32, "train"))
    text = TOKENIZER.decode(rows[:, 1:].ravel().tolist())
    assert "".join(f"{p}\n\n" for p in paragraphs[:98]).startswith(text) and len(text) > 1000


@pytest.mark.parametrize("of_text", [False, True])
def test_train_and_eval_share_nothing_and_miss_nothing(of_text: bool, tmp_path: Path):
    table = text_table(200) if of_text else token_table(200)
    path = write("parquet", tmp_path, table)
    train = everything(open_files(path, TOKENIZER, 16, "train"))
    held = everything(open_files(path, TOKENIZER, 16, "eval"))
    assert 0.01 < len(held) / (len(train) + len(held)) < 0.03
    if of_text:
        assert "Document 195" in TOKENIZER.decode(train[-4:, 1:].ravel().tolist())
        first = TOKENIZER.decode(held[0, 1:].tolist())
        assert "Document 196" in first and "Document 195" not in first
    else:
        expected = np.array(table["tokens"]).reshape(-1, 16)
        expected[:, 0] = BOS
        np.testing.assert_array_equal(np.concatenate([train, held]), expected)


def test_held_out_documents_fill_at_least_one_row(tmp_path: Path):
    path = write("parquet", tmp_path, text_table(20))
    assert len(open_files(path, TOKENIZER, 48, "eval").read(0, 10)) >= 1


@pytest.mark.parametrize("of_text", [False, True])
def test_reading_by_position_is_reading_in_order(
    of_text: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packed, "SHARD_TOKENS", 700)
    path = write("parquet", tmp_path, text_table(300) if of_text else token_table())
    whole = everything(open_files(path, TOKENIZER, 16, "train"))
    again = open_files(path, TOKENIZER, 16, "train")
    for start, count in [(101, 9), (0, 1), (len(whole) - 2, 10), (len(whole), 5), (43, 160)]:
        np.testing.assert_array_equal(again.read(start, count), whole[start : start + count])


def test_fingerprints_tell_rows_apart(tmp_path: Path):
    path = write("parquet", tmp_path, text_table())
    prints = {
        open_files(path, TOKENIZER, seq_len, split).fingerprint
        for seq_len in (16, 32)
        for split in ("train", "eval")
    }
    assert len(prints) == 4
    assert open_files(path, TOKENIZER, 16, "train").fingerprint in prints


def test_tokenised_once_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A second reader takes the shards that are there and goes on from them, to the same rows."""
    monkeypatch.setattr(packed, "SHARD_TOKENS", 700)
    path = write("parquet", tmp_path, text_table(300))
    first = open_files(path, TOKENIZER, 16, "train")
    first.read(0, 50)
    encoded: list[int] = []
    encode = TOKENIZER.encode_batch
    monkeypatch.setattr(TOKENIZER, "encode_batch", lambda texts: encoded.append(len(texts)) or encode(texts))
    second = open_files(path, TOKENIZER, 16, "train")
    encoded.clear()
    second.read(0, 50)
    assert not encoded
    whole = everything(second)
    assert encoded
    np.testing.assert_array_equal(first.read(0, len(whole)), whole)


def test_token_rows_of_many_lengths_are_packed(tmp_path: Path):
    lists = [list(range(3, 3 + n % 40)) for n in range(200)]
    path = write("parquet", tmp_path, Dataset.from_dict({"input_ids": lists}))
    rows = everything(open_files(path, TOKENIZER, 16, "train"))
    ids = [id for row in lists[:196] for id in [*row, EOS]]
    np.testing.assert_array_equal(rows[:, 1:].ravel(), ids[: len(rows) * 15])


def test_a_vocabulary_without_bos(tmp_path: Path):
    inner = small_tokenizer(bos="<|first|>", eos="<|last|>")
    tokenizer = Tokenizer(inner)
    assert tokenizer.bos_token_id is None
    table = token_table()
    rows = open_files(write("parquet", tmp_path, table), tokenizer, 16, "train")
    assert rows.bos is False
    np.testing.assert_array_equal(everything(rows), np.array(table["tokens"])[:118].reshape(-1, 16))
    texts = open_files(write("jsonl", tmp_path / "t", text_table()), tokenizer, 16, "train")
    assert texts.bos is False and texts.read(0, 3).shape == (3, 16)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (Dataset.from_dict({"words": ["a", "b"]}), "has the columns words: one of tokens"),
        (Dataset.from_dict({"tokens": ["a", "b"]}), "lists of token ids are needed"),
        (Dataset.from_dict({"text": [1, 2]}), "text is needed"),
        (token_table(1), "has 1 rows: two are needed"),
        (token_table(d_vocab=5000), "vocabulary has 300"),
        (Dataset.from_dict({"text": ["short", "texts"]}), "too small"),
        (Dataset.from_dict({"input_ids": [[3, 4, 5000] * n for n in range(1, 60)]}), "vocabulary has 300"),
    ],
)
def test_data_that_does_not_fit(table: Dataset, line: str, tmp_path: Path):
    with pytest.raises(UserError, match=line) as caught:
        open_files(write("parquet", tmp_path, table), TOKENIZER, 16, "train").read(0, 500)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("torn.parquet", b"PAR1 and then nothing", "cannot be read as parquet"),
        ("torn.arrow", b"\xff\xff\xff\xffrubbish", "cannot be read as arrow"),
        ("torn.jsonl", b'{"text": "a"}\n{"te', "cannot be read as json"),
        ("empty.jsonl", b"", "is empty"),
        ("notes.md", b"# hello", "no data in"),
    ],
)
def test_damaged_and_unknown_files(name: str, content: bytes, line: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(UserError, match=line) as caught:
            open_files(path, TOKENIZER, 16, "train")
        assert "\n" not in str(caught.value)


def test_nothing_is_drawn_where_nobody_sees_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path = write("jsonl", tmp_path, text_table())
    capfd.readouterr()
    open_files(path, TOKENIZER, 16, "train").read(0, 9)
    assert capfd.readouterr() == ("", "")


def test_memory_mapped_not_loaded(tmp_path: Path):
    path = write("arrow", tmp_path, token_table(rows=20_000))
    before = pyarrow.total_allocated_bytes()
    rows = open_files(path, TOKENIZER, 16, "train")
    assert rows.read(60_000, 8).shape == (8, 16)
    assert pyarrow.total_allocated_bytes() - before < 2**20 < path.stat().st_size
