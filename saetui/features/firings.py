"""All tokens on which one feature fires, where the index knows only the strongest."""

from collections.abc import Callable

import torch
from torch import Tensor

from saetui.features.best import Entries
from saetui.features.contexts import windows
from saetui.features.encoder import Encoder, check_feature, encode_feature
from saetui.features.index import stored_tokens
from saetui.features.results import Firings
from saetui.features.row_store import RowStore

Progress = Callable[[int, int], None]
"""Called with the tokens scanned and those stored; may raise to stop."""


class FiringScan:
    """Where ``feature`` fires among the stored tokens, strongest first, ties in the order of the corpus."""

    def __init__(self, store: RowStore, encoder: Encoder, feature: int, name: str) -> None:
        check_feature(encoder, feature, name)
        self.store, self.encoder, self.feature, self.name = store, encoder, feature, name
        self._rows = 0
        self._entries = _none(store)

    @torch.no_grad()
    def read(self, on_progress: Progress | None = None) -> None:
        """Scans what has been stored since the last time: a matrix-vector product over the activations."""
        parts = [self._entries]
        stored = self.store.activation_rows
        for places, x in stored_tokens(self.store, self._rows, stored):
            activation = encode_feature(self.encoder, x, self.feature).float()
            fires = activation > 0
            feature = torch.full_like(places[fires], self.feature)
            parts.append(Entries(feature, places[fires], activation[fires], activation[fires]))
            if on_progress:
                row = int(places[-1]) // self.store.seq_len + 1
                on_progress(row * self.store.tokens_per_row, stored * self.store.tokens_per_row)
        found = Entries.cat(parts)
        self._entries = found[torch.argsort(found.activation, descending=True, stable=True)]
        self._rows = stored

    def page(self, start: int, count: int, before: int = 5, after: int = 4) -> Firings:
        """``count`` contexts from the ``start``-th on, with up to ``before`` and ``after`` neighbours."""
        entries = self._entries[start : start + count]
        return Firings(
            sae=self.name,
            feature=self.feature,
            tokens_read=self._rows * self.store.tokens_per_row,
            fired=len(self._entries),
            start=start,
            contexts=windows(self.store, self.encoder, entries, self.feature, before, after),
        )


def _none(store: RowStore) -> Entries:
    empty: Tensor = torch.empty(0, device=store.lm.device)
    return Entries(empty.long(), empty.long(), empty, empty)
