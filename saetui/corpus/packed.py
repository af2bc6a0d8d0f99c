"""Documents of many lengths, joined and packed into rows as far as they are asked for.

The rows are kept in *shards* under the cache, each written atomically once and then memory-mapped.
A shard says where the next one begins, so that any process goes on where the last one stopped, under
a lock; a killed one loses at most the shard that it was in.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from saetui.atomic import write_atomic
from saetui.corpus.rows import as_tokens
from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from saetui.file_lock import locked
from saetui.settings import cache_root

Progress = Callable[[float, str], None]
"""Called with the share that is done, 0 … 1, and a line for a person."""

SHARD_TOKENS = 2**18
"""Tokens after which a shard is complete; the first rows are there after so many."""
_DOCUMENTS_AT_ONCE = 64


@dataclass(frozen=True)
class Documents:
    """Documents to be packed: how many, and the token ids of those from ``start`` up to ``stop``, each
    with whatever separates it from the next."""

    count: int
    tokens: Callable[[int, int], list[list[int]]]


class PackedRows:
    """One split of some documents as ``TokenRows``: BOS (where the vocabulary has one), then running text.

    Documents run on from row to row; what does not fill the last row is dropped. ``held_out`` gives
    how many documents at the end are the split ``eval``; more are, where those do not fill one row.
    UserError where the documents fill no row at all, or the cache cannot be written.
    """

    def __init__(
        self,
        documents: Documents,
        name: str,
        fingerprint: str,
        tokenizer: Tokenizer,
        seq_len: int,
        split: Literal["train", "eval"],
        held_out: Callable[[int], int],
        progress: Progress | None = None,
    ) -> None:
        self.name = name
        self.seq_len = seq_len
        self.bos = tokenizer.bos_token_id is not None
        identity = f"{fingerprint} {tokenizer.fingerprint} {seq_len} {SHARD_TOKENS} {split}"
        self.fingerprint = sha256(identity.encode()).hexdigest()[:16]
        self._documents = documents
        self._tokenizer = tokenizer
        self._width = seq_len - self.bos
        self._progress = progress
        self._folder = cache_root() / "corpus" / self.fingerprint
        cut = self._cut(held_out(documents.count))
        self._first, self._last = (0, cut) if split == "train" else (cut, documents.count)
        self._shards: list = []
        self._ends = [0]
        self._next = self._first

    def read(self, start: int, count: int) -> NDArray[np.integer]:
        """Rows ``start … start+count``, ``[≤count, seq_len]``; tokenises just as far as that needs."""
        stop = start + count
        while self._ends[-1] < stop and self._advance():
            if self._progress is not None:
                ready = self._ends[-1]
                self._progress(min(1.0, ready / stop), f"tokenising {self.name}: {ready:,} rows")
        pieces = [np.empty((0, self.seq_len), self._dtype)]
        for shard, first, last in zip(self._shards, self._ends, self._ends[1:], strict=False):
            begin, end = max(start, first), min(stop, last)
            if begin < end:
                pieces.append(shard.get_slice("rows")[begin - first : end - first])
        return np.concatenate(pieces)

    @property
    def _dtype(self) -> type[np.integer]:
        return np.uint16 if self._tokenizer.d_vocab <= 2**16 else np.int32

    def _cut(self, held_out: int) -> int:
        """The first held-out document."""
        cut, tokens = self._documents.count, 0
        while cut > 0 and (self._documents.count - cut < held_out or tokens < self._width):
            cut -= 1
            if tokens < self._width:
                tokens += len(self._documents.tokens(cut, cut + 1)[0])
        if cut == 0:
            raise UserError(
                f"{self.name} is too small: it does not fill a row of {self.seq_len} tokens to train on "
                "beside one that is held out"
            )
        return cut

    def _path(self, index: int) -> Path:
        return self._folder / f"shard-{index:05d}.safetensors"

    def _take_in(self) -> bool:
        """Open the next shard if it exists."""
        path = self._path(len(self._shards))
        if not path.exists():
            return False
        shard = safe_open(path, framework="numpy")
        self._shards.append(shard)
        self._ends.append(self._ends[-1] + shard.get_slice("rows").get_shape()[0])
        self._next = int(shard.get_tensor("next")[0])
        return True

    def _advance(self) -> bool:
        """One shard more, made by another process or here; False at the end of the documents."""
        if self._take_in():
            return True
        if self._next >= self._last:
            return False
        with self._lock():
            if not self._path(len(self._shards)).exists():
                self._build()
        return self._take_in()

    def _build(self) -> None:
        rest = [self._shards[-1].get_tensor("rest")] if self._shards else []
        pieces, size, document = rest, sum(map(len, rest)), self._next
        while document < self._last and size < SHARD_TOKENS:
            stop = min(document + _DOCUMENTS_AT_ONCE, self._last)
            ids = [np.array(ids, np.int64) for ids in self._documents.tokens(document, stop)]
            pieces += ids
            size += sum(map(len, ids))
            document = stop
        tokens = as_tokens(np.concatenate(pieces), self._tokenizer.d_vocab, self.name)
        count = len(tokens) // self._width
        rows = np.empty((count, self.seq_len), self._dtype)
        if self._tokenizer.bos_token_id is not None:
            rows[:, 0] = self._tokenizer.bos_token_id
        rows[:, self.seq_len - self._width :] = tokens[: count * self._width].reshape(count, self._width)
        rest = tokens[count * self._width :].copy()
        shard = {"rows": rows, "rest": rest, "next": np.array([document], np.int64)}
        path = self._path(len(self._shards))
        try:
            write_atomic(path, save(shard))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror} (set SAETUI_CACHE)") from None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = locked(self._folder / "build.lock")
        except OSError as error:
            raise UserError(
                f"cannot write the cache at {self._folder}: {error.strerror} (set SAETUI_CACHE)"
            ) from None
        with lock:
            yield
