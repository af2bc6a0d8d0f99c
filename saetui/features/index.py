"""The index of a dictionary's features over a corpus: one pass, then every look at a feature is a lookup."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from saetui.atomic import write_atomic
from saetui.features import contexts
from saetui.features.encoder import Encoder, check_feature, encode_feature, encoder_hash
from saetui.features.results import Contexts, Densities
from saetui.features.row_store import RowStore, try_lock
from saetui.features.statistics import FeatureStatistics

SAVE_EVERY = 10.0
"""Seconds between two savings of a pass: what a crash costs at most."""
_SCAN = 4096
"""Tokens encoded at once when stored activations are scanned: what fits a core's cache."""

_MOST_HOT = 65_536
"""Hot tokens of one feature that a pass collects."""

Progress = Callable[[int, int], None]
"""Called with the tokens read so far and the tokens wanted; may raise to stop, which loses nothing."""


@dataclass(frozen=True)
class HotTokens:
    """Tokens on which a feature fires: ``x [n, d_in]`` (fp32), ``row``, ``position``, ``activation [n]``;
    found among ``tokens_read`` (BOS not counted)."""

    x: Tensor
    row: Tensor
    position: Tensor
    activation: Tensor
    tokens_read: int


class _HotFeature:
    """The hot tokens of one feature in the rows before ``rows``."""

    def __init__(self, feature: int, threshold: float) -> None:
        self.feature, self.threshold = feature, threshold
        self.rows = self.count = 0
        self.found: list[tuple[Tensor, Tensor, Tensor]] = []

    def take(self, encoder: Encoder, x: Tensor, places: Tensor, rows: int) -> None:
        """Goes on with the tokens ``x [n, d_in]`` of the rows up to ``rows``."""
        activation = encode_feature(encoder, x, self.feature)
        hot = activation > self.threshold
        self.found.append((x[hot], places[hot], activation[hot]))
        self.count += len(self.found[-1][1])
        self.rows = rows


class FeatureIndex:
    """Top-activating tokens, samples, histograms and counts of every feature over the first rows.

    Grows by ``advance`` (one step) or ``build``; usable after the first step, saved in the row store's
    folder, resumed from there. An interrupted and resumed pass ends in the same numbers. One thread
    advances, any may ask.
    """

    def __init__(self, store: RowStore, encoder: Encoder, name: str = "narrow") -> None:
        self.store, self.encoder, self.name = store, encoder, name
        self.rows_read = 0
        self.ended = False
        """Whether the corpus has no more rows."""
        self.wanted = 0
        """Tokens that were last asked for; the index is complete when it has read as many."""
        self.statistics = FeatureStatistics(encoder.d_sae, store.lm.device)
        self._step_rows = max(1, _step_tokens(encoder.d_sae, store.lm.device) // store.seq_len)
        self.folder = store.folder / encoder_hash(encoder)
        """Where the index is kept, and whatever else is found out of this dictionary over these rows."""
        self.folder.mkdir(exist_ok=True)
        self._lock = try_lock(self.folder)
        self._saved_at = monotonic()
        self._hot: _HotFeature | None = None
        """Of the feature that was asked for last; a pass goes on collecting them."""
        self._hot_lock = threading.Lock()
        self._load()

    @property
    def tokens_read(self) -> int:
        return self.rows_read * self.store.tokens_per_row

    @property
    def complete(self) -> bool:
        return self.ended or self.tokens_read >= self.wanted

    @torch.no_grad()
    def advance(self) -> None:
        """Reads one step of rows, which takes some tens of milliseconds; saves now and then."""
        x = self.store.read(self.rows_read, self._step_rows)
        if len(x):
            stop = self.rows_read + len(x)
            places, tokens = self.store.places(self.rows_read, stop), x[:, self.store.first :].flatten(0, 1)
            self.statistics.add(self.encoder.encode(tokens), places)
            if self._hot_lock.acquire(blocking=False):  # whoever holds it reads on from the store
                if self._hot is not None and self._hot.rows == self.rows_read and self._hot.count < _MOST_HOT:
                    self._hot.take(self.encoder, tokens, places, stop)
                self._hot_lock.release()
            self.rows_read = stop
        self.ended = len(x) < self._step_rows
        if self.complete or monotonic() - self._saved_at > SAVE_EVERY:
            self.save()

    def build(self, tokens: int, on_progress: Progress | None = None) -> None:
        """Reads on until ``tokens`` tokens (BOS not counted) are indexed or the corpus ends, and saves."""
        self.wanted = tokens
        while not self.complete:
            self.advance()
            if on_progress:
                on_progress(self.tokens_read, tokens)

    def save(self) -> None:
        """Writes the index; without effect where another process is writing the same one. Where the disk
        does not take it, the store's ``warning`` says so and the pass goes on in memory."""
        self._saved_at = monotonic()
        if self._lock is None:
            return
        about = {"rows": str(self.rows_read), "ended": str(int(self.ended))}
        try:
            self.store.save()
            write_atomic(self._file, save(self.statistics.tensors(), about))
        except OSError as error:
            self.store.warning = f"{self.folder}: {error.strerror}; the index is not kept"

    def close(self) -> None:
        """Saves, and lets another process write. The row store stays open."""
        self.save()
        if self._lock:
            self._lock.close()
            self._lock = None

    def contexts(self, feature: int, **options: Any) -> Contexts:
        """What ``feature`` fires on: see ``saetui.features.contexts.contexts`` for the options."""
        return contexts.contexts(
            self.store,
            self.encoder,
            self.statistics,
            feature,
            name=self.name,
            complete=self.complete,
            **options,
        )

    def densities(self) -> Densities:
        """Density and largest activation of every feature."""
        tokens, fired = self.statistics.densities()
        return Densities(
            sae=self.name,
            tokens_read=tokens,
            density=(fired.double() / max(tokens, 1)).tolist(),
            max_activation=self.statistics.max_activation.tolist(),
            complete=self.complete,
        )

    def top_places(self) -> Tensor:
        """Places ``[d_sae, k]`` of every feature's top-activating tokens, strongest first, -1 where it has
        fewer; on the CPU."""
        return self.statistics.top.places().cpu()

    def firing_counts(self) -> tuple[int, Tensor]:
        """Tokens read, and on how many of them each feature fired, ``[d_sae]``."""
        return self.statistics.densities()

    def highest(self) -> Tensor:
        """The largest activation of every feature, ``[d_sae]``."""
        return self.statistics.max_activation

    @torch.no_grad()
    def hot_tokens(self, feature: int, threshold: float, limit: int) -> HotTokens:
        """The first ``limit`` tokens on which ``feature`` is above ``threshold``, BOS left out.

        Reads what the row store holds, not more: a matrix-vector product over the stored activations. What
        was found for a feature is kept until another is asked for, and the pass adds to it, so that asking
        again costs nothing.
        """
        check_feature(self.encoder, feature, self.name)
        with self._hot_lock:
            hot = self._hot
            if hot is None or (hot.feature, hot.threshold) != (feature, threshold):
                hot = self._hot = _HotFeature(feature, threshold)
            for places, x in stored_tokens(self.store, hot.rows):
                if hot.count >= limit:
                    break
                hot.take(self.encoder, x, places, int(places[-1]) // self.store.seq_len + 1)
            none = torch.empty(0, device=self.store.lm.device)
            start = (none.reshape(0, self.store.lm.d_in), none.long(), none)
            x, places, activation = (torch.cat(part) for part in zip(start, *hot.found, strict=True))
            hot.found = [(x, places, activation)]  # cat makes a copy: not of all the parts each time
            seq, read = self.store.seq_len, hot.rows * self.store.tokens_per_row
        return HotTokens(x[:limit], places[:limit] // seq, places[:limit] % seq, activation[:limit], read)

    @property
    def _file(self) -> Path:
        return self.folder / "index.safetensors"

    def _load(self) -> None:
        if not self._file.exists():
            return
        try:
            with safe_open(self._file, framework="pt") as file:
                about = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return  # a cache: what cannot be read is built again
        self.rows_read, self.ended = int(about["rows"]), bool(int(about["ended"]))
        self.statistics.load(tensors, self.tokens_read)


def stored_tokens(
    store: RowStore, start: int = 0, stop: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Places ``[n]`` and activations ``[n, d_in]`` of the tokens of stored rows from row ``start`` on, up to
    ``stop`` (None: all), some thousand at a time."""
    rows = store.activation_rows if stop is None else min(stop, store.activation_rows)
    step = max(1, _SCAN // store.seq_len)
    for first in range(start, rows, step):
        end = min(first + step, rows)
        yield store.places(first, end), store.activations(first, end, store.first).flatten(0, 1)


def _step_tokens(d_sae: int, device: torch.device) -> int:
    """Tokens of one step, BOS included: small enough that a query waits tens of milliseconds at most."""
    if device.type != "cpu":
        return max(4096, 2**28 // d_sae)
    return min(2048, max(512, 2**21 // d_sae))
