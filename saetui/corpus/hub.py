"""Data sets on the Hugging Face hub as rows of tokens, from the local caches first."""

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from saetui.corpus.files import only_table, open_files, quiet
from saetui.corpus.packed import Progress
from saetui.corpus.rows import TokenRows
from saetui.corpus.tables import Split, rows_of
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from saetui.hub import snapshot

if TYPE_CHECKING:
    from datasets import Dataset

_DATA = ["*.parquet", "*.arrow", "*.jsonl", "*.jsonl.gz", "*.json.gz"]


def open_hub(
    name: str, tokenizer: Tokenizer, seq_len: int, split: Split, progress: Progress | None = None
) -> TokenRows:
    """One split of the hub data set ``name``; its own splits do not matter: ``train``, or its first, is read.

    It is downloaded when it is first opened, and from then on memory-mapped from the cache of
    ``datasets`` without asking the hub again: a run resumes on the very rows that it began with. With no
    network, what the hub client has downloaded (``hf download``) is read. UserError where there is
    nothing.
    """
    dataset = _prepared(name)
    if dataset is None and _reachable(name):
        dataset = _download(name)
    if dataset is None:
        return open_files(snapshot(name, _DATA, kind="dataset"), tokenizer, seq_len, split, progress)
    # The path of a prepared data set names its revision; with the number of rows it says which rows.
    files = [Path(file["filename"]) for file in dataset.cache_files]
    identity = [name, str(len(dataset)), *("/".join(file.parts[-4:]) for file in files)]
    fingerprint = sha256("\n".join(identity).encode()).hexdigest()[:16]
    return rows_of(dataset, name, fingerprint, tokenizer, seq_len, split, progress=progress)


def _prepared(name: str) -> "Dataset | None":
    """What the cache of ``datasets`` holds of ``name``, or None."""
    quiet()
    from datasets import DatasetDict
    from datasets.packaged_modules.cache.cache import Cache

    try:
        builder = Cache(dataset_name=name.split("/")[1], repo_id=name, version="auto", hash="auto")
        tables = builder.as_dataset()
    except (ValueError, OSError):  # nothing there, or several configurations to choose from
        return None
    return only_table(tables) if isinstance(tables, DatasetDict) else None


def _reachable(name: str) -> bool:
    """Whether the hub answers at all: ``datasets`` itself would go on trying for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # whichever of its versions the hub client speaks with

    try:
        HfApi().dataset_info(name, timeout=10)
    except HfHubHTTPError:
        return True  # it does, and whoever asks it next will say what is wrong
    except (httpx.HTTPError, OSError):
        return False
    return True


def _download(name: str) -> "Dataset":
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return only_table(datasets.load_dataset(name))
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise UserError(f"cannot load {name}: {' '.join(str(error).split())[:200]}") from error
