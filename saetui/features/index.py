"""The index of a dictionary's features over a corpus: one pass, then every look at a feature is a lookup."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from saetui.atomic import write_atomic
from saetui.features import contexts
from saetui.features.encoder import Encoder, check_feature, encode_feature, encoder_hash
from saetui.features.postings import Postings
from saetui.features.results import Contexts, Densities, Kept
from saetui.features.row_store import RowStore, lock_folder
from saetui.features.statistics import FeatureStatistics

SAVE_EVERY = 10.0
"""Seconds between two savings of a pass: what a crash costs at most."""
_VERSION = "2"
"""Of what is saved: raise it when the meaning of the files changes."""
_FILE = "index.safetensors"
_SCAN = 4096
"""Tokens encoded at once when stored activations are scanned: what fits a core's cache."""

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


@dataclass(frozen=True)
class Highest:
    """The largest activation of a feature on the first ``tokens_read`` tokens of a corpus (BOS not counted);
    ``whole``: it has no more."""

    activation: float
    tokens_read: int
    whole: bool


def highest_saved(store: RowStore, encoder: Encoder, feature: int) -> Highest | None:
    """What the saved index of ``encoder`` says, of which nothing else is read; None where there is none."""
    with suppress(OSError, SafetensorError, KeyError, ValueError):
        path = store.folder / encoder_hash(encoder) / _FILE
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            if about["version"] == _VERSION:
                activation = max(0.0, float(file.get_slice("top.activation")[feature].max()))
                tokens = int(about["rows"]) * store.tokens_per_row
                return Highest(activation, tokens, bool(int(about["ended"])))
    return None


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
        self._lock = lock_folder(self.folder)
        self._saved_at = monotonic()
        self.postings = Postings(self.folder, encoder.d_sae, writes=self._lock is not None)
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
            fired = self.statistics.add(self.encoder.encode(tokens), places)
            self.postings.add(fired, self.rows_read * self.store.seq_len, stop * self.store.seq_len)
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
        about = {"version": _VERSION, "rows": str(self.rows_read), "ended": str(int(self.ended))}
        try:
            self.store.save()
            fired = {f"postings.{name}": tensor for name, tensor in self.postings.save().items()}
            write_atomic(self._file, save(self.statistics.tensors() | fired, about))
        except OSError as error:
            self.store.warning = f"{self.folder}: {error.strerror}; the index is not kept"
        self.store.warning = self.store.warning or self.postings.warning

    def close(self) -> None:
        """Saves, and lets another process write. The row store stays open."""
        self.save()
        self.postings.close()
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

        Only of tokens whose activations the row store has: looked up as far as the feature's firings are
        kept, and found by a scan behind that.
        """
        check_feature(self.encoder, feature, self.name)
        store, seq = self.store, self.store.seq_len
        end = store.activation_rows * seq
        places, activations = self.postings.of(feature)
        # What rounding may have brought below the threshold is looked at too.
        near = torch.from_numpy(places[(activations >= threshold * (1 - 2**-10)) & (places < end)])
        until = min(self.postings.until(feature), end) // seq
        none = torch.empty(0, device=store.lm.device)
        found = [(none.reshape(0, store.lm.d_in), none.long(), none)]
        count = 0

        def take(x: Tensor, places: Tensor) -> None:
            nonlocal count
            activation = encode_feature(self.encoder, x, feature)
            hot = activation > threshold
            found.append((x[hot], places[hot], activation[hot]))
            count += len(found[-1][1])

        while len(near) and count < limit:
            now, near = near[: limit - count], near[limit - count :]
            take(store.activations_at(now), now.to(none.device))
        read = until if count < limit else int(found[-1][1][-1]) // seq + 1
        if count < limit:
            for scanned, x in stored_tokens(store, until):
                take(x, scanned)
                read = int(scanned[-1]) // seq + 1
                if count >= limit:
                    break
        x, at, activation = (torch.cat(part)[:limit] for part in zip(*found, strict=True))
        return HotTokens(x, at // seq, at % seq, activation, read * store.tokens_per_row)

    def kept(self, feature: int, threshold: float) -> Kept:
        """What a filter that wants ``feature`` above ``threshold`` keeps, as far as its firings are kept."""
        check_feature(self.encoder, feature, self.name)
        places, activations = self.postings.of(feature)
        hot = places[activations > threshold]
        rows = self.postings.until(feature) // self.store.seq_len
        read = rows * self.store.tokens_per_row
        hot_rows = len(np.unique(hot // self.store.seq_len))
        return Kept(read, len(hot) / max(read, 1), hot_rows / max(rows, 1))

    @property
    def _file(self) -> Path:
        return self.folder / _FILE

    def _load(self) -> None:
        try:
            with safe_open(self._file, framework="pt") as file:
                about = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about["version"] != _VERSION:
                raise ValueError("made by another version")
            rows, ended = int(about["rows"]), bool(int(about["ended"]))
            self.postings.load(_under("postings.", tensors))
            self.statistics.load(tensors, rows * self.store.tokens_per_row)
            self.rows_read, self.ended = rows, ended
        except (OSError, SafetensorError, KeyError, ValueError):
            self.postings.clear()  # a cache: what is not there, or cannot be read, is built anew


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


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
