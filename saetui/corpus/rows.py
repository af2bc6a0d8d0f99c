"""Rows of tokens: the one shape in which every corpus reaches a language model."""

from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from saetui.errors import UserError


class TokenRows(Protocol):
    """A sequence of token rows, readable from any row on; row ``i`` never changes.

    Reading is by position so that a run can resume exactly where it was. Implementations are
    memory-mapped or streamed: none holds the corpus in memory.
    """

    name: str
    """What a person calls it: a dataset name, a path, ``real`` …"""
    fingerprint: str
    """Equal fingerprints promise equal rows in equal order; caches are keyed by it."""
    seq_len: int
    """Tokens in a row, the BOS at position 0 included where ``bos`` says so."""
    bos: bool
    """Whether position 0 of every row is a BOS token (left out of statistics and of training)."""

    def read(self, start: int, count: int) -> NDArray[np.integer]:
        """Rows ``start … start+count``, shape ``[≤count, seq_len]``, dtype uint16 or int32.

        Fewer than ``count`` rows means that the corpus ends there. May block while rows are
        downloaded or built.
        """
        ...


class FirstRows:
    """``rows``, the first ``count`` of them kept in memory once one is read: for what reads the same ones
    again and again."""

    def __init__(self, rows: TokenRows, count: int) -> None:
        self.name, self.fingerprint = rows.name, rows.fingerprint
        self.seq_len, self.bos = rows.seq_len, rows.bos
        self._rows, self._count = rows, count

    @cached_property
    def _first(self) -> NDArray[np.integer]:
        parts = list(batches(self._rows, 0, self._count, 1024))
        return np.concatenate(parts) if parts else np.zeros((0, self.seq_len), np.int32)

    def read(self, start: int, count: int) -> NDArray[np.integer]:
        """As ``TokenRows.read``."""
        if start + count <= self._count and start + count <= len(self._first):
            return self._first[start : start + count]
        return self._rows.read(start, count)


def batches(rows: TokenRows, start: int, stop: int | None, size: int) -> Iterator[NDArray[np.integer]]:
    """Consecutive batches of at most ``size`` rows from ``start`` up to ``stop`` (None: to the end)."""
    while stop is None or start < stop:
        batch = rows.read(start, size if stop is None else min(size, stop - start))
        if len(batch) == 0:
            return
        yield batch
        start += len(batch)


def as_tokens(ids: NDArray, d_vocab: int, name: str) -> NDArray[np.integer]:
    """A copy of ``ids`` in the smallest dtype of ``TokenRows``. UserError for ids outside the vocabulary."""
    if ids.size and not 0 <= ids.min() <= ids.max() < d_vocab:
        outside = int(ids.max()) if ids.max() >= d_vocab else int(ids.min())
        raise UserError(
            f"{name} has token {outside}, but the model's vocabulary has {d_vocab}: "
            "it was tokenised for another model"
        )
    return ids.astype(np.uint16 if d_vocab <= 2**16 else np.int32)
