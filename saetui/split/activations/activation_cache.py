"""Pieces of filtered activations, kept on disk: a second run over the same data needs no language model.

    <cache>/activations/<key>/000017.safetensors   piece 17
                              about.json           what the key stands for, to be read by people
    <cache>/activations/<key>.used                 locked, shared, by every run that reads the set
    <cache>/activations/<key>.turn1                locked by whoever computes a piece with this rest by TURNS

A piece's file holds ``x [kept, d_in]`` in fp16, ``places [kept]`` (``row * seq_len + position``, int64) and,
in its metadata, ``rows``, ``strongest`` and a checksum of all that (XXH3). A file that is torn or altered is
computed again, and so is one that is gone: a cache can be deleted at any time.

All sets together take at most half of the settings' ``cache_gb`` (the other half is the feature indexes').
Room is made by removing the sets used longest ago that no run is reading; where there is none left, the
pieces from there on are computed by every run that needs them. A set keeps its first pieces, which every
run reads, rather than its last ones.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from xxhash import xxh3_128

from saetui.atomic import write_atomic
from saetui.file_lock import locked, try_locked
from saetui.last_used import bytes_in, longest_unused_first, mark_used
from saetui.settings import cache_root, load_settings
from saetui.split.activations.disk import activation_bytes
from saetui.split.activations.filtered import FilteredRows, Piece, Poll
from saetui.split.recipe import SplitRecipe

PATIENCE_S = 60.0
"""Longest wait for a piece that another run is computing; then this run computes it for itself."""
WEIGHED = 4
"""Pieces computed and stored on a GPU until it is clear which of the two takes longer."""
TURNS = 8
"""Pieces of a set that may be computed at once: by the ranks of a run, or by runs at different places."""


class ActivationCache:
    """``Pieces`` read from the disk where they are there, and computed and stored where they are not.

    Several runs may share a set: each piece is computed by whichever needs it first. ``say`` gets a line
    about the disk space that ``recipe`` needs, and one about everything that goes wrong, which never ends
    a run.
    """

    def __init__(
        self,
        pieces: FilteredRows,
        recipe: SplitRecipe,
        say: Callable[[str], None] = lambda line: None,
        root: Path | None = None,
    ) -> None:
        self._pieces, self._say = pieces, say
        self.rows, self.rows_per_piece = pieces.rows, pieces.rows_per_piece
        self.d_in, self.device = pieces.d_in, pieces.device
        self._root = root or cache_root() / "activations"
        self.folder = self._root / pieces.key()
        self._limit = int(load_settings().cache_gb * 1e9 / 2)
        self._seconds: list[tuple[float, float]] = []
        self._used: BinaryIO | None = None
        self._storing = self._limit > 0 and self._open()
        if self._storing:
            self._say(self._disk_needed(recipe))

    def read(self, number: int, poll: Poll = lambda read: None) -> Piece:
        """As ``Pieces.read``."""
        if piece := self._load(number):
            return piece
        if not self._storing:
            return self._pieces.read(number, poll)
        with self._turn(number, poll) as mine:
            if piece := self._load(number):
                return piece
            begun = time.perf_counter()
            piece = self._pieces.read(number, poll)
            computed = time.perf_counter()
            if mine and piece.rows and piece.computed:  # else the feature index has it
                self._store(number, piece)
                self._weigh(computed - begun, time.perf_counter() - computed)
        return piece

    def _open(self) -> bool:
        """Whether the set can be written; it is in use from here on."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._used = locked(self.folder.with_suffix(".used"), shared=True)
            self.folder.mkdir(exist_ok=True)  # it may have been removed until the lock was there
            mark_used(self.folder)
        except OSError as error:
            self._say(f"{self.folder}: {error.strerror}; activations are not kept (set SAETUI_CACHE)")
            return False
        return True

    def _disk_needed(self, recipe: SplitRecipe) -> str:
        needed, there = activation_bytes(recipe, self.d_in), bytes_in(self.folder)
        free = shutil.disk_usage(self.folder).free
        line = (
            f"activations are kept in {self.folder}: {there / 1e6:,.0f} MB are there, this run needs "
            f"{needed / 1e6:,.0f} MB at most, and {free / 1e6:,.0f} MB are free"
        )
        if needed > self._limit:
            line += (
                f"; the limit is {self._limit / 1e9:.1f} GB (half of cache_gb in the settings), and what is "
                "beyond it is computed by every run"
            )
        return line

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"

    def _load(self, number: int) -> Piece | None:
        path = self._path(number)
        try:
            with safe_open(path, "pt") as file:
                said = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            piece = Piece(tensors["x"], tensors["places"], int(said["rows"]), float(said["strongest"]))
            if said["xxh3"] != _checksum(piece) or piece.x.shape != (len(piece.places), self.d_in):
                raise ValueError("checksum")
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            self._say(f"{path} is damaged: it is computed again")
            return None
        return Piece(piece.x.to(self.device), piece.places, piece.rows, piece.strongest, computed=False)

    def _store(self, number: int, piece: Piece) -> None:
        """Stores a piece or, where there is no room, stores none any more."""
        x = piece.x.cpu().contiguous()
        said = {"rows": str(piece.rows), "strongest": str(piece.strongest), "xxh3": _checksum(piece)}
        data = save({"x": x, "places": piece.places}, said)
        about = self.folder / "about.json"
        try:
            if not about.exists():
                write_atomic(about, json.dumps(self._pieces.about(), indent=1).encode())
            if self._make_room(len(data)):
                write_atomic(self._path(number), data)
                return
            why = f"the cache is full ({self._limit / 1e9:.1f} GB, half of cache_gb in the settings)"
        except OSError as error:
            why = f"{self.folder}: {error.strerror}"
        self._storing = False
        self._say(f"{why}; the run goes on, with activations from here on computed and not kept")

    def _weigh(self, computing: float, storing: float) -> None:
        """Stops storing where the model is faster than the disk. On a CPU it never is."""
        if self.device.type == "cpu":
            return
        self._seconds.append((computing, storing))
        computing, storing = (min(column) for column in zip(*self._seconds, strict=True))
        if len(self._seconds) >= WEIGHED and storing > computing and self._storing:
            self._storing = False
            self._say("the language model is faster than the disk: activations from here on are not kept")

    def _make_room(self, size: int) -> bool:
        """Removes what was used longest ago, but no set in use, until ``size`` more bytes fit."""
        sets = [path for path in self._root.iterdir() if path.is_dir()]
        total = sum(map(bytes_in, sets)) + size
        for other in longest_unused_first(sets):
            if total <= self._limit:
                break
            lock = try_locked(other.with_suffix(".used"))
            if lock:
                total -= bytes_in(other)
                shutil.rmtree(other, ignore_errors=True)
                lock.close()
        return total <= self._limit

    @contextmanager
    def _turn(self, number: int, poll: Poll) -> Iterator[bool]:
        """Waits while another run computes a piece; false where that took too long."""
        path = self.folder.with_suffix(f".turn{number % TURNS}")
        deadline = time.monotonic() + PATIENCE_S
        lock = None
        with suppress(OSError):  # the folder has been deleted, which storing will complain about
            while not (lock := try_locked(path)) and time.monotonic() < deadline:
                poll(0)
                time.sleep(0.02)
        try:
            yield lock is not None
        finally:
            if lock:
                lock.close()


def _checksum(piece: Piece) -> str:
    digest = xxh3_128(f"{piece.rows} {piece.strongest}".encode())
    for tensor in (piece.x, piece.places):
        digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
