"""The rows that a language model has read: their tokens and activations, kept on disk.

Every dictionary of one hook point is indexed over the same activations, so the language model reads
each row once; contexts and the hot tokens of any feature are then looked up instead of recomputed.
"""

import json
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.atomic import write_atomic
from saetui.corpus.rows import TokenRows
from saetui.file_lock import try_locked
from saetui.last_used import bytes_in, longest_unused_first, mark_used
from saetui.lm.base import LanguageModel
from saetui.removal import remove_whole, sweep
from saetui.settings import cache_root, load_settings

_VERSION = 2
"""Part of the key: raise it when the meaning of the files changes."""
FP16_MAX = 65504.0
"""Activations are kept as fp16, and larger ones, of which healthy models have none, are cut to this."""


class RowStore:
    """Tokens ``[rows, seq_len]`` and activations ``[rows, seq_len, d_in]`` of the first rows of a corpus.

    Files in ``folder``: ``tokens.i32``, ``activations.f16`` (of at most as many rows as the settings'
    ``cache_gb`` allows), ``rows.json`` (how many rows are complete; written last, atomically). A crash
    loses the rows since the last ``save``, nothing else. Activations are rounded to fp16 whether they
    come from the file or from the model, so nothing depends on which it was.

    One process appends (whoever holds the lock), others read what is there and compute the rest. With
    ``writes`` false nothing is made or locked: only what is there by now is read.
    """

    def __init__(
        self, lm: LanguageModel, rows: TokenRows, root: Path | None = None, writes: bool = True
    ) -> None:
        self.lm, self.rows, self.seq_len = lm, rows, rows.seq_len
        self.first = 1 if rows.bos else 0
        """First position of a row that counts: BOS does not."""
        index_root = root or cache_root() / "index"
        self.folder = index_root / identity(lm, rows)
        self.warning = ""
        """Why nothing more is stored, or empty."""
        budget = load_settings().cache_gb * 1e9
        self._lock = lock_folder(self.folder) if writes else None
        self._row_bytes = self.seq_len * lm.d_in * 2
        # A quarter for one corpus, half for all of them: what is left is for activations of runs.
        self._most_rows = int(budget / 4 // self._row_bytes)
        state = _read_json(self.folder / "rows.json")
        tokens, activations = self.folder / "tokens.i32", self.folder / "activations.f16"
        self.token_rows = min(state.get("tokens", 0), _size(tokens) // (self.seq_len * 4))
        """Rows whose tokens are stored."""
        self.activation_rows = min(state.get("activations", 0), _size(activations) // self._row_bytes)
        """Rows whose activations are stored."""
        self._tokens_view = np.empty((0, self.seq_len), np.int32)
        self._activations_view = np.empty((0, self.seq_len, lm.d_in), np.float16)
        if not self._lock:
            self._map_before_it_goes()
        self._files: tuple[BinaryIO, BinaryIO] | None = None
        if self._lock:
            self._files = (
                _appending(tokens, self.token_rows * self.seq_len * 4),
                _appending(activations, self.activation_rows * self._row_bytes),
            )
            _prune(index_root, self.folder, budget / 2)

    @property
    def tokens_per_row(self) -> int:
        """Tokens of a row that count."""
        return self.seq_len - self.first

    @torch.no_grad()
    def read(self, start: int, count: int) -> Tensor:
        """Activations ``[≤count, seq_len, d_in]`` of rows from ``start`` on, fp32, on the model's device.

        Fewer rows mean that the corpus ends there. Rows read in order are stored on the way. One thread.
        """
        tokens = self._tokens(start, count)
        stop = start + len(tokens)
        stored = min(max(self.activation_rows - start, 0), len(tokens))
        parts = [self.activations(start, start + stored)] if stored else []
        if stored < len(tokens):
            x = self._compute(tokens[stored:])
            if start + stored == self.activation_rows and stop <= self._most_rows:
                self._append(1, x.cpu().numpy().tobytes())
                self.activation_rows = stop if self._files else self.activation_rows
            parts.append(x.float())
        return torch.cat(parts) if parts else torch.empty(0, self.seq_len, self.lm.d_in)

    def activations(self, start: int, stop: int, position: int = 0) -> Tensor:
        """Stored activations ``[stop - start, seq_len - position, d_in]`` of rows, from a position on; fp32,
        on the model's device."""
        stored = torch.from_numpy(self._mapped_activations()[start:stop, position:])
        return stored.to(self.lm.device).to(torch.float32, memory_format=torch.contiguous_format)

    def rounded(self, start: int, stop: int) -> Tensor:
        """Stored activations ``[stop - start, tokens_per_row, d_in]`` of the tokens that count, as they are
        stored: fp16, on the CPU. Nothing of them is copied before it is used."""
        return torch.from_numpy(self._mapped_activations()[start:stop, self.first :])

    def places(self, start: int, stop: int) -> Tensor:
        """The tokens of rows ``start … stop`` that count, as numbers ``row * seq_len + position``, int64."""
        rows = torch.arange(start, stop, device=self.lm.device)[:, None] * self.seq_len
        return (rows + torch.arange(self.first, self.seq_len, device=self.lm.device)).flatten()

    def activations_at(self, places: Tensor) -> Tensor:
        """Stored activations ``[n, d_in]`` of the tokens at ``places [n]``, fp32, on the model's device."""
        stored = self._mapped_activations().reshape(-1, self.lm.d_in)[places.cpu().numpy()]
        return torch.from_numpy(stored).to(self.lm.device).float()

    def row_tokens(self, row: int) -> NDArray[np.integer]:
        """Tokens ``[seq_len]`` of one row."""
        if row < self.token_rows:
            return self._mapped_tokens()[row]
        return self.rows.read(row, 1)[0]

    def tokens_at(self, places: Tensor) -> NDArray[np.integer]:
        """The tokens at ``places`` (each ``row * seq_len + position``), in their shape."""
        at = places.cpu().numpy()
        stored = self.token_rows * self.seq_len
        if at.size == 0 or at.max() < stored:
            return self._mapped_tokens().reshape(-1)[at]
        # Of rows that another process stores, or that found no room: the corpus itself says.
        beyond = at[at >= stored] // self.seq_len
        first = int(beyond.min())
        rest = self.rows.read(first, int(beyond.max()) - first + 1).reshape(-1)
        tokens = np.zeros(at.shape, np.int64)
        tokens[at < stored] = self._mapped_tokens().reshape(-1)[at[at < stored]]
        tokens[at >= stored] = rest[at[at >= stored] - first * self.seq_len]
        return tokens

    @torch.no_grad()
    def windows(self, spans: list[tuple[int, int, int]]) -> list[Tensor]:
        """Activations ``[stop - start, d_in]`` of every span ``(row, start, stop)``, fp32.

        Rows that are not stored are computed in one forward, up to the last position asked for.
        """
        found: dict[int, Tensor] = {}
        if missing := sorted({row for row, _, _ in spans if row >= self.activation_rows}):
            stop = max(stop for row, _, stop in spans if row >= self.activation_rows)
            x = self._compute(np.stack([self.row_tokens(row)[:stop] for row in missing])).float()
            found = dict(zip(missing, x, strict=True))
        stored = self._mapped_activations()
        return [
            found[row][start:stop]
            if row in found
            else torch.from_numpy(stored[row, start:stop]).to(self.lm.device).float()
            for row, start, stop in spans
        ]

    def save(self) -> None:
        """Makes what was stored so far survive a crash."""
        if self._files:
            for file in self._files:
                os.fsync(file.fileno())
            state = {"tokens": self.token_rows, "activations": self.activation_rows}
            write_atomic(self.folder / "rows.json", json.dumps(state).encode())

    def close(self) -> None:
        """Saves, and lets another process append."""
        self.save()
        for file in self._files or ():
            file.close()
        self._files = None
        if self._lock:
            self._lock.close()

    def _compute(self, tokens: NDArray[np.integer]) -> Tensor:
        x = self.lm.activations(torch.from_numpy(tokens.astype(np.int64)).to(self.lm.device))
        return x.clamp(-FP16_MAX, FP16_MAX).half()

    def _tokens(self, start: int, count: int) -> NDArray[np.integer]:
        stored = min(max(self.token_rows - start, 0), count)
        parts: list[NDArray[np.integer]] = []
        if stored:
            parts.append(self._mapped_tokens()[start : start + stored])
        if stored < count:
            tokens = self.rows.read(start + stored, count - stored)
            if start + stored == self.token_rows and len(tokens):
                self._append(0, tokens.astype(np.int32).tobytes())
                self.token_rows += len(tokens) if self._files else 0
            parts.append(tokens)
        return np.concatenate(parts)

    def _append(self, which: int, data: bytes) -> None:
        """Writes or, where the disk does not take it, stores no more: the rest is computed."""
        if self._files is None:
            return
        file = self._files[which]
        size = os.fstat(file.fileno()).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            file.truncate(size)
            self.warning = f"{self.folder}: {error.strerror}; the index goes on without storing activations"
            self.save()
            self._files = None

    def _map_before_it_goes(self) -> None:
        """Without its lock the folder may be removed at any time; what is mapped stays."""
        try:
            self._mapped_tokens()
            self._mapped_activations()
        except FileNotFoundError:
            self.token_rows = self.activation_rows = 0

    def _mapped_tokens(self) -> NDArray[np.int32]:
        if len(self._tokens_view) != self.token_rows:
            shape = (self.token_rows, self.seq_len)
            self._tokens_view = _mapped(self.folder / "tokens.i32", np.int32, shape)
        return self._tokens_view

    def _mapped_activations(self) -> NDArray[np.float16]:
        if len(self._activations_view) != self.activation_rows:
            shape = (self.activation_rows, self.seq_len, self.lm.d_in)
            self._activations_view = _mapped(self.folder / "activations.f16", np.float16, shape)
        return self._activations_view


def lock_folder(folder: Path) -> BinaryIO | None:
    """The lock of ``folder``, which is made where there is none, held until it is closed; None where another
    process holds it."""
    with suppress(OSError):  # a file system without locks: nobody writes there
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock = try_locked(folder / "lock")
                if lock is None or os.path.samestat(os.fstat(lock.fileno()), (folder / "lock").stat()):
                    return lock
                lock.close()
            except FileNotFoundError:
                pass  # another process has removed it meanwhile, to make room: it is made again
    return None


def identity(lm: LanguageModel, rows: TokenRows) -> str:
    """What caches of activations are keyed by: equal for equal models, hook points and rows, and for what
    decides the last bits of the model's products."""
    model = (lm.name, lm.hook_name, lm.d_in, lm.fingerprint, lm.tokenizer.fingerprint)
    products = (lm.device.type, torch.backends.mkldnn.matmul.fp32_precision)  # pyright: ignore[reportAttributeAccessIssue]
    about = (_VERSION, *model, rows.fingerprint, rows.seq_len, *products)
    return sha256(repr(about).encode()).hexdigest()[:16]


def _mapped(path: Path, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    # Mode "c": torch asks for writable memory; writes, of which there are none, would stay private.
    # A plain view of the mapping: np.memmap's own slicing costs ten times as much.
    return np.asarray(np.memmap(path, dtype, "c", shape=shape)) if shape[0] else np.empty(shape, dtype)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _appending(path: Path, size: int) -> BinaryIO:
    """The file cut to what is known to be complete, unbuffered, so that a mapping sees every write."""
    file = path.open("ab", buffering=0)
    file.truncate(size)
    return file  # pyright: ignore[reportReturnType]


def _prune(root: Path, own: Path, budget: float) -> None:
    """Removes the stores used longest ago until all others and this one fit into the budget."""
    sweep(root)
    sizes = {folder: bytes_in(folder) for folder in root.iterdir() if folder.is_dir()}
    mark_used(own)
    total = sum(sizes.values())
    for folder in longest_unused_first(sizes.keys() - {own}):
        if total <= budget:
            return
        with suppress(OSError):  # gone already, or a file system without locks
            if lock := try_locked(folder / "lock"):
                remove_whole(folder)  # who opens it now finds it whole, or makes it anew
                total -= sizes[folder]
                lock.close()
