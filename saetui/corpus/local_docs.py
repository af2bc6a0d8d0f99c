"""The real-text corpus: rows of tokens built on this machine, as far as they are asked for.

Nothing is downloaded and no third-party text is shipped: the paragraphs come from documentation that
lies on every machine with saetui (``installed``, ``extract``). The work is cut into *parts* of 128
documents. A part is one file that appears atomically, so whoever wants rows, in whatever process,
takes the build lock, looks how far the others have come, builds the next part if that is not far
enough, and lets go. A killed build loses at most the part it was in.

**The held-out split is by document, and nothing leaks.** Both splits come out of one pass over all
documents in one pseudo-random order, with one set of the paragraphs seen so far: a paragraph belongs
to the split of the document in which it first occurs and is dropped everywhere after that (licences
and docstrings are copied a lot). So it is in the corpus once, hence in one split only, whichever
split was asked for first and however far the other was read.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save as to_safetensors

from saetui.atomic import write_atomic
from saetui.corpus import extract, installed
from saetui.corpus.installed import Split
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from saetui.file_lock import locked
from saetui.settings import cache_root

Progress = Callable[[float, str], None]
"""Called with the share that is done, 0 … 1, and a line for a person."""

PART_DOCUMENTS = 128
SEPARATOR = "\n\n"
_SPLITS: tuple[Split, ...] = ("train", "eval")


def corpus_fingerprint(tokenizer: Tokenizer, seq_len: int, versions: Iterable[str]) -> str:
    """16 hex digits over everything that decides the rows: code version, packages, tokenizer, row length."""
    lines = [
        f"extract {extract.VERSION}",
        f"parts {PART_DOCUMENTS}",
        f"rows {seq_len}",
        tokenizer.fingerprint,
        *versions,
    ]
    return sha256("\n".join(lines).encode()).hexdigest()[:16]


class LocalDocs:
    """One split of the real-text corpus, as ``TokenRows``: BOS, then ``seq_len - 1`` tokens of running text.

    ``sources`` are the documents (default: the standard library's and the dependencies'), listed only
    if something must be built, and ``versions`` the lines that identify them. Rows are uint16.
    ``progress`` is called while rows are built.

    Raises UserError where the tokenizer has no BOS or more than 65 536 ids, or the cache cannot be written.
    """

    bos = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        split: Split = "train",
        *,
        seq_len: int = 64,
        sources: Callable[[], list[installed.Source]] = installed.sources,
        versions: Iterable[str] | None = None,
        root: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        if tokenizer.bos_token_id is None or tokenizer.d_vocab > 2**16:
            raise UserError("the local corpus needs a tokenizer with a BOS token and at most 65536 ids")
        fingerprint = corpus_fingerprint(
            tokenizer, seq_len, installed.versions() if versions is None else versions
        )
        self.name = "real" if split == "train" else f"real:{split}"
        self.fingerprint = f"{fingerprint}-{split}"
        self.seq_len = seq_len
        self.split: Split = split
        folder = (root or cache_root()) / "corpus" / fingerprint
        self._build = _Build(folder, tokenizer, seq_len, sources)
        self._parts = _Parts(folder)
        self._progress = progress

    def read(self, start: int, count: int) -> NDArray[np.uint16]:
        """Rows ``start … start+count``, ``[≤count, seq_len]`` uint16; builds just as far as that needs."""
        stop = start + count
        while self._parts.rows(self.split) < stop and self._build.advance(self._parts):
            if self._progress is not None:
                ready = self._parts.rows(self.split)
                self._progress(min(1.0, ready / stop), f"building the corpus: {ready:,} rows")
        return self._parts.read(self.split, start, stop, self.seq_len)

    def build_all(self) -> int:
        """Build to the end of the documents; the number of rows that this split then has."""
        while self._build.advance(self._parts):
            if self._progress is not None:
                done, documents = self._build.position(self._parts)
                self._progress(done / documents, f"building the corpus: {done:,} of {documents:,} documents")
        return self._parts.rows(self.split)


class _Parts:
    """The parts that exist on disk, read as if they were one array for each split."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list = []
        self._ends: dict[Split, list[int]] = {split: [0] for split in _SPLITS}

    def __len__(self) -> int:
        return len(self._open)

    def path(self, index: int) -> Path:
        return self.folder / f"part-{index:04d}.safetensors"

    def refresh(self) -> None:
        """Take in the parts that have appeared since."""
        while self.path(len(self)).exists():
            part = safe_open(self.path(len(self)), framework="numpy")
            self._open.append(part)
            for split in _SPLITS:
                self._ends[split].append(self._ends[split][-1] + part.get_slice(split).get_shape()[0])

    def rows(self, split: Split) -> int:
        self.refresh()
        return self._ends[split][-1]

    def read(self, split: Split, start: int, stop: int, seq_len: int) -> NDArray[np.uint16]:
        ends = self._ends[split]
        pieces = [np.empty((0, seq_len), np.uint16)]
        for index, part in enumerate(self._open):
            first, last = max(start, ends[index]), min(stop, ends[index + 1])
            if first < last:
                pieces.append(part.get_slice(split)[first - ends[index] : last - ends[index]])
        return np.concatenate(pieces)

    def tensor(self, index: int, name: str) -> NDArray:
        return self._open[index].get_tensor(name)


class _Build:
    """Appends parts. Its whole state is in the parts themselves, so that any process can go on.

    Part ``i`` holds, beside the rows of its documents, the identities of the paragraphs first seen in it
    (``seen``, uint64) and for each split the tokens that did not fill a row (``train.rest``, ``eval.rest``).
    """

    def __init__(
        self, folder: Path, tokenizer: Tokenizer, seq_len: int, sources: Callable[[], list[installed.Source]]
    ) -> None:
        self._folder = folder
        self._tokenizer = tokenizer
        self._seq_len = seq_len
        self._list_sources = sources
        self._sources: list[installed.Source] | None = None
        self._seen: set[int] = set()
        self._seen_parts = 0

    def position(self, parts: _Parts) -> tuple[int, int]:
        """Documents done, and documents in all."""
        documents = self._documents()
        return min(len(parts) * PART_DOCUMENTS, len(documents)), len(documents)

    def advance(self, parts: _Parts) -> bool:
        """Make sure that one part more exists, built here or by another process; False at the end."""
        known = len(parts)
        with self._lock():
            parts.refresh()
            if len(parts) > known:
                return True
            documents = self._documents()[known * PART_DOCUMENTS : (known + 1) * PART_DOCUMENTS]
            if not documents:
                return False
            tensors = self._part(documents, parts)
            write_atomic(parts.path(known), to_safetensors(tensors))
            parts.refresh()
            return True

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(self._folder / "build.lock"):
                yield
        except OSError as error:
            raise UserError(
                f"cannot build the corpus in {self._folder}: {error.strerror} (SAETUI_CACHE moves it)"
            ) from error

    def _documents(self) -> list[installed.Source]:
        """The documents as the first builder found them: a build goes on with the list that it began with."""
        if self._sources is None:
            path = self._folder / "documents.tsv"
            if not path.exists():
                lines = [f"{source.name}\t{source.path}\n" for source in self._list_sources()]
                write_atomic(path, "".join(lines).encode())
            lines = path.read_text(encoding="utf-8").splitlines()
            self._sources = [installed.Source(*line.split("\t")) for line in lines]
        return self._sources

    def _part(self, documents: list[installed.Source], parts: _Parts) -> dict[str, NDArray]:
        for index in range(self._seen_parts, len(parts)):
            self._seen.update(parts.tensor(index, "seen").tolist())
        self._seen_parts = len(parts)
        fresh: dict[int, None] = {}
        texts: dict[Split, list[str]] = {split: [] for split in _SPLITS}
        for document in documents:
            text = extract.read_text(document.path)
            for paragraph in extract.paragraphs(text, is_python=document.path.endswith(".py")):
                identity = int.from_bytes(extract.identity(paragraph), "big")
                if identity not in self._seen and identity not in fresh:
                    fresh[identity] = None
                    texts[document.split].append(paragraph + SEPARATOR)
        tensors: dict[str, NDArray] = {"seen": np.fromiter(fresh, np.uint64, len(fresh))}
        for split in _SPLITS:
            rest = parts.tensor(len(parts) - 1, f"{split}.rest") if len(parts) else np.empty(0, np.uint16)
            tokens = [np.array(ids, np.uint16) for ids in self._tokenizer.encode_batch(texts[split])]
            tensors[split], tensors[f"{split}.rest"] = self._rows(np.concatenate([rest, *tokens]))
        return tensors

    def _rows(self, tokens: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        width = self._seq_len - 1
        count = len(tokens) // width
        rows = np.full((count, self._seq_len), self._tokenizer.bos_token_id, np.uint16)
        rows[:, 1:] = tokens[: count * width].reshape(count, width)
        return rows, tokens[count * width :].copy()
