"""Where every feature fires: places and activations, a bounded number of every feature, beside the index.

What the index shows of a feature is its strongest tokens; a graft or a filter needs the others too. With
them on disk by feature, both begin with a lookup where they would else scan every stored activation.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.features.best import Entries

MOST = 2**25
"""Firings kept of all features together (4 bytes each), …"""
MOST_OF_ONE = 2**16
"""… and of one: the first ones in the corpus's order, to the end of the step that reaches so many."""
_SPAN = 2**16
"""Places of a block, in which a place is its distance from the block's first."""
_HEADER = 16
_NOWHERE = 2**62


@dataclass(frozen=True)
class _Part:
    """Firings in rising order of place, ``[n]`` each."""

    feature: NDArray[np.uint16]
    place: NDArray[np.int64]
    activation: NDArray[np.float16]


@dataclass(frozen=True)
class _Block:
    """Where a block is in the file, its first place, and its number of firings."""

    offset: int
    first: int
    count: int


@dataclass(frozen=True)
class _State:
    """Replaced as a whole, so that a reader in another thread sees either the old or the new."""

    blocks: tuple[_Block, ...]
    waiting: tuple[_Part, ...]
    """Not written yet."""


class Postings:
    """The firings of up to 65,536 features (of a dictionary with more, none) over a stream of tokens.

    ``postings.bin`` in ``folder`` is a sequence of blocks: the first place and the number of firings (int64),
    where each feature's begin (int32 ``[d_sae + 1]``), and, feature by feature, their places less the first
    one (uint16) and their activations (fp16), padded to 8 bytes. One thread adds and writes, any may ask.
    With ``writes`` false, what is there is read and nothing is added.
    """

    def __init__(self, folder: Path, d_sae: int, writes: bool) -> None:
        self.path, self.d_sae = folder / "postings.bin", d_sae
        self.stop = 0
        """The place up to which firings have been added."""
        self.warning = ""
        """Why nothing more is added, or empty."""
        self._most = max(1, min(MOST_OF_ONE, MOST // d_sae))
        self._until = np.full(d_sae, _NOWHERE)
        self._count = np.zeros(d_sae, np.int64)
        self._state = _State((), ())
        self._written = 0
        """The place up to which they are in the file."""
        self._adds = writes and d_sae <= 2**16
        self._fd = -1
        with suppress(FileNotFoundError):
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT if self._adds else os.O_RDONLY, 0o644)

    def add(self, entries: Entries, start: int, stop: int) -> None:
        """Takes the firings at the places from ``start`` up to ``stop``, in rising order. Those behind a gap,
        which a full disk has left, are not kept: a list with holes would pass for a whole one."""
        self._adds = self._adds and start == self.stop
        if not self._adds:
            return
        open_ = torch.from_numpy(self._until == _NOWHERE).to(entries.feature.device)
        kept = entries[open_[entries.feature]]
        part = _Part(
            kept.feature.cpu().numpy().astype(np.uint16),
            kept.place.cpu().numpy(),
            kept.activation.cpu().numpy().astype(np.float16),
        )
        self._count += np.bincount(part.feature, minlength=self.d_sae)
        self._until[(self._count >= self._most) & (self._until == _NOWHERE)] = stop
        state = self._state
        self._state = _State(state.blocks, (*state.waiting, part))
        spans_over = stop // _SPAN > self.stop // _SPAN
        self.stop = stop
        if spans_over:
            self._write()

    def until(self, feature: int) -> int:
        """All firings of ``feature`` before this place are here."""
        return min(int(self._until[feature]), self.stop)

    def of(self, feature: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Places, in rising order, and activations, rounded to fp16, of the firings before ``until``."""
        until, state = self.until(feature), self._state
        parts = [self._read(block, feature) for block in state.blocks]
        for part in state.waiting:
            own = part.feature == feature
            parts.append((part.place[own], part.activation[own].astype(np.float32)))
        places = np.concatenate([np.empty(0, np.int64), *(place for place, _ in parts)])
        activations = np.concatenate([np.empty(0, np.float32), *(activation for _, activation in parts)])
        before = int(np.searchsorted(places, until))
        return places[:before], activations[:before]

    def save(self) -> dict[str, Tensor]:
        """Writes what waits, so that it survives a crash; what ``load`` takes back, to be written last."""
        self._write()
        size = 0
        if self._fd >= 0:
            os.fsync(self._fd)
            size = os.fstat(self._fd).st_size
        return {
            "extent": torch.tensor([size, self._written]),
            "until": torch.from_numpy(self._until.copy()),
            "count": torch.from_numpy(self._count.copy()),
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Takes back what ``save`` gave; ValueError where the file is not what that says."""
        size, stop = tensors["extent"].tolist()
        if size and (self._fd < 0 or os.fstat(self._fd).st_size < size):
            raise ValueError(f"{self.path} is too short")
        blocks: list[_Block] = []
        at = 0
        while at < size:
            first, count = np.frombuffer(os.pread(self._fd, _HEADER, at), np.int64).tolist()
            blocks.append(_Block(at, first, count))
            at += self._bytes(count)
        if at != size:
            raise ValueError(f"{self.path} is damaged")
        if self._adds:
            os.truncate(self._fd, size)
        self.stop = self._written = stop
        self._until, self._count = tensors["until"].numpy().copy(), tensors["count"].numpy().copy()
        self._state = _State(tuple(blocks), ())

    def clear(self) -> None:
        """Begins anew."""
        if self._adds:
            os.truncate(self._fd, 0)

    def close(self) -> None:
        self._adds = False
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _bytes(self, count: int) -> int:
        return -(-(_HEADER + 4 * (self.d_sae + 1) + 4 * count) // 8) * 8

    def _read(self, block: _Block, feature: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        table = block.offset + _HEADER
        begin, end = np.frombuffer(os.pread(self._fd, 8, table + 4 * feature), np.int32).tolist()
        places = table + 4 * (self.d_sae + 1)
        activations = places + 2 * block.count
        place = np.frombuffer(os.pread(self._fd, 2 * (end - begin), places + 2 * begin), np.uint16)
        data = os.pread(self._fd, 2 * (end - begin), activations + 2 * begin)
        return block.first + place.astype(np.int64), np.frombuffer(data, np.float16).astype(np.float32)

    def _write(self) -> None:
        """Appends what waits or, where the disk does not take it, adds nothing any more."""
        state = self._state
        if not state.waiting or not self._adds:
            return
        size = os.fstat(self._fd).st_size
        blocks, at = list(state.blocks), size
        try:
            for first, part in _spans(state.waiting):
                data = _block(first, part, self.d_sae).ljust(self._bytes(len(part.place)), b"\0")
                blocks.append(_Block(at, first, len(part.place)))
                while data:
                    written = os.pwrite(self._fd, data, at)
                    data, at = data[written:], at + written
        except OSError as error:
            os.truncate(self._fd, size)
            self._adds = False
            self.warning = f"{self.path}: {error.strerror}; where features fire is not kept from here on"
            return
        self._written = self.stop
        self._state = _State(tuple(blocks), ())


def _spans(parts: tuple[_Part, ...]) -> list[tuple[int, _Part]]:
    """The firings by the span that they are in, with the span's first place."""
    feature, place, activation = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("feature", "place", "activation")
    )
    edges = np.flatnonzero(np.diff(place // _SPAN)) + 1
    cuts = [0, *edges.tolist(), len(place)] if len(place) else [0]
    return [
        (int(place[low]) // _SPAN * _SPAN, _Part(feature[low:high], place[low:high], activation[low:high]))
        for low, high in pairwise(cuts)
    ]


def _block(first: int, part: _Part, d_sae: int) -> bytes:
    by_feature = np.argsort(part.feature, kind="stable")  # of 16-bit integers: a radix sort
    begin = np.zeros(d_sae + 1, np.int32)
    np.cumsum(np.bincount(part.feature, minlength=d_sae), out=begin[1:])
    return b"".join(
        values.tobytes()
        for values in (
            np.array([first, len(part.place)], np.int64),
            begin,
            (part.place[by_feature] - first).astype(np.uint16),
            part.activation[by_feature],
        )
    )
