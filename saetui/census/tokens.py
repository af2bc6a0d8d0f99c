"""The tokens on which each feature fires strongly: a bounded sample of every feature in one pass."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.census.results import CensusRecipe
from saetui.errors import UserError
from saetui.features.best import BestPerFeature, Entries
from saetui.features.index import FeatureIndex, stored_tokens
from saetui.features.row_store import RowStore
from saetui.features.statistics import FeatureStatistics, lot

TokensDone = Callable[[int, int], None]
"""Called with tokens done and tokens in all; may raise to stop."""


@dataclass(frozen=True)
class Neighbourhood:
    """Tokens by id, ``[n]`` each, -1 where the row ends; ``row`` numbers the rows that occur from 0."""

    row: NDArray[np.integer]
    previous: NDArray[np.integer]
    current: NDArray[np.integer]
    next: NDArray[np.integer]


@dataclass(frozen=True)
class HotSample:
    """Of every feature a uniform sample of its hot tokens, those above ``threshold [d_sae]``: ``train`` from
    the first rows, ``held_out`` from the last. ``hot [d_sae]`` counts all of them in ``tokens_read``.

    Tokens are kept as places in the row store, not as activations: a token on which twenty features fire
    is stored once.
    """

    store: RowStore
    threshold: Tensor
    hot: Tensor
    tokens_read: int
    train: BestPerFeature
    held_out: BestPerFeature

    def density(self, feature: int) -> float:
        """Share of the tokens read on which the feature is hot."""
        return int(self.hot[feature]) / self.tokens_read

    def train_places(self, feature: int, most: int | None = None) -> Tensor:
        """In the corpus's order; ``most`` of them as a smaller uniform sample."""
        return self.train.of(feature).place[:most].sort().values

    def held_out_places(self, feature: int) -> Tensor:
        return self.held_out.of(feature).place.sort().values

    def activations(self, places: Tensor) -> Tensor:
        """``[n, d_in]``, fp32."""
        return self.store.activations_at(places)

    def neighbourhood(self, places: Tensor) -> Neighbourhood:
        """The tokens at and around ``places``."""
        row, position = np.divmod(places.cpu().numpy(), self.store.seq_len)
        rows, numbered = np.unique(row, return_inverse=True)
        tokens = np.stack([self.store.row_tokens(int(r)) for r in rows]).astype(np.int64)
        padded = np.pad(tokens, ((0, 0), (1, 1)), constant_values=-1)
        previous, current, following = (padded[numbered, position + i] for i in range(3))
        return Neighbourhood(numbered, previous, current, following)


def sample_rows(index: FeatureIndex, recipe: CensusRecipe) -> int:
    """How many rows ``sample_hot`` reads. UserError where there are no stored activations."""
    store = index.store
    rows = min(store.activation_rows, index.rows_read, -(-recipe.tokens // store.tokens_per_row))
    if rows == 0:
        why = store.warning or "cache_gb in the settings leaves no room, or another process holds the store"
        raise UserError(f"there are no stored activations to take a census of: {why}")
    return rows


@torch.no_grad()
def sample_hot(
    index: FeatureIndex, recipe: CensusRecipe, on_progress: TokensDone = lambda done, total: None
) -> HotSample:
    """One pass over the first ``recipe.tokens`` tokens of which the index's row store has the activations.

    A hash of feature and place decides which tokens are kept, so that the sample is the same whenever it is
    drawn. UserError where there are no stored activations.
    """
    store, encoder, rows = index.store, index.encoder, sample_rows(index, recipe)
    first_held_out = round(rows * (1 - recipe.held_out)) * store.seq_len
    device = store.lm.device
    threshold = recipe.threshold_share * percentiles(_statistics(index, rows), 0.95).to(device)
    hot = torch.zeros(encoder.d_sae, dtype=torch.int64, device=device)
    train = BestPerFeature(encoder.d_sae, recipe.hot_tokens, device)
    held_out = BestPerFeature(encoder.d_sae, recipe.held_out_tokens, device)
    for places, x in stored_tokens(store, stop=rows):
        f = encoder.encode(x)
        token, feature = (f > threshold).nonzero(as_tuple=True)
        hot += torch.bincount(feature, minlength=encoder.d_sae)
        place = places[token]
        found = Entries(feature, place, lot(feature, place), f[token, feature])
        late = place >= first_held_out
        train.offer(found[~late])
        held_out.offer(found[late])
        read = int(places[-1]) // store.seq_len + 1
        on_progress(read * store.tokens_per_row, rows * store.tokens_per_row)
    return HotSample(store, threshold, hot, rows * store.tokens_per_row, train, held_out)


def _statistics(index: FeatureIndex, rows: int) -> FeatureStatistics:
    """Of the first ``rows`` rows alone: the index may have read on since, and a census that goes on another
    day must find the thresholds that it had."""
    if index.rows_read == rows:
        return index.statistics
    statistics = FeatureStatistics(index.encoder.d_sae, index.store.lm.device)
    for _, x in stored_tokens(index.store, stop=rows):
        statistics.count(index.encoder.encode(x))
    return statistics


def percentiles(statistics: FeatureStatistics, share: float) -> Tensor:
    """The activation below which ``share`` of every feature's firings lie, ``[d_sae]``, rounded up to a
    histogram bin's edge; 0 for a feature that never fired."""
    found = torch.zeros(statistics.d_sae)
    for feature in range(statistics.d_sae):
        counts = statistics.counts(feature)
        if counts.fired:
            seen = np.cumsum(counts.histogram)
            found[feature] = (int(np.searchsorted(seen, share * counts.fired)) + 1) * counts.bin_width
    return found
