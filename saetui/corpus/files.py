"""Local files and folders as rows of tokens: Arrow, Parquet, JSON lines, text, ``save_to_disk`` folders."""

import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saetui.corpus.packed import Progress
from saetui.corpus.rows import TokenRows
from saetui.corpus.tables import Split, rows_of
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from saetui.settings import cache_root

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_KINDS = {
    "arrow": (".arrow",),
    "parquet": (".parquet",),
    "json": (".jsonl", ".ndjson", ".jsonl.gz", ".json.gz", ".json"),
    "text": (".txt",),
}
"""File endings by the reader of ``datasets``; of a folder with several, the first kind is taken."""


def open_files(
    path: Path, tokenizer: Tokenizer, seq_len: int, split: Split, progress: Progress | None = None
) -> TokenRows:
    """One split of a file, or of all files of one kind in a folder and those below it, in order of name.

    Plain text is read by paragraphs. UserError where there is nothing of a known kind, or it is damaged.
    """
    path = path.absolute()
    if path.is_dir() and ((path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()):
        kind, files = "saved", sorted(path.rglob("*.arrow"))
    else:
        kind, files = _files(path)
    dataset = _load(kind, path, files)
    stats = [(str(file.relative_to(path)), file.stat()) for file in files]
    identity = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
    fingerprint = sha256("\n".join([str(path), kind, *identity]).encode()).hexdigest()[:16]
    return rows_of(
        dataset,
        str(path),
        fingerprint,
        tokenizer,
        seq_len,
        split,
        paragraphs=kind == "text",
        progress=progress,
    )


def _files(path: Path) -> tuple[str, list[Path]]:
    candidates = [path] if path.is_file() else sorted(path.rglob("*"))
    for kind, endings in _KINDS.items():
        found = [file for file in candidates if file.name.lower().endswith(endings) and file.is_file()]
        if found := [file for file in found if not file.name.startswith(".")]:
            return kind, found
    endings = ", ".join(ending for group in _KINDS.values() for ending in group)
    raise UserError(f"no data in {path}: files that end in {endings} are read")


def _load(kind: str, path: Path, files: list[Path]) -> "Dataset":
    import datasets
    import pyarrow as pa
    from datasets.exceptions import DatasetsError

    quiet()
    if empty := next((file for file in files if file.stat().st_size == 0), None):
        raise UserError(f"{empty} is empty")
    names = [str(file) for file in files]
    try:
        if kind == "saved":
            saved = datasets.load_from_disk(str(path))
            return only_table(saved) if isinstance(saved, datasets.DatasetDict) else saved
        if kind == "arrow":
            return datasets.concatenate_datasets([datasets.Dataset.from_file(name) for name in names])
        options: dict[str, Any] = {"sample_by": "paragraph"} if kind == "text" else {}
        return datasets.load_dataset(
            kind, data_files=names, split="train", cache_dir=str(cache_root() / "datasets"), **options
        )
    except (DatasetsError, pa.ArrowInvalid, OSError, ValueError) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise UserError(f"{path} cannot be read as {kind}: {reason}") from error


def only_table(tables: "DatasetDict") -> "Dataset":
    """The table ``train`` of a data set, or its only one; the rest is not touched."""
    return tables["train"] if "train" in tables else tables[next(iter(tables))]


def quiet() -> None:
    """``datasets`` narrates through its log, and draws progress bars also where nobody can see them."""
    import datasets

    datasets.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
