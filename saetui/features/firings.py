"""All tokens on which one feature fires, where the index shows only the strongest."""

from collections.abc import Callable

import torch
from torch import Tensor

from saetui.features.best import Entries
from saetui.features.contexts import windows
from saetui.features.encoder import check_feature, encode_feature
from saetui.features.graft_index import GraftIndex
from saetui.features.index import FeatureIndex, stored_tokens
from saetui.features.results import Firings

Progress = Callable[[int, int], None]
"""Called with the tokens looked through and those stored; may raise to stop."""
_AT_ONCE = 4096
"""Known firings read at once."""


class FiringScan:
    """Where ``feature`` fires among the stored tokens, strongest first, ties in the order of the corpus."""

    def __init__(self, index: FeatureIndex | GraftIndex, feature: int) -> None:
        check_feature(index.encoder, feature, index.name)
        self.index, self.feature = index, feature
        self._rows = 0
        none = torch.empty(0, device=index.store.lm.device)
        self._entries = Entries(none.long(), none.long(), none, none)

    @torch.no_grad()
    def read(self, on_progress: Progress | None = None) -> None:
        """Takes in what has been stored since the last time: looked up as far as the index keeps where the
        feature fires, and found by a matrix-vector product over the activations behind that."""
        store = self.index.store
        parts, stored = [self._entries], store.activation_rows

        def take(places: Tensor, x: Tensor, rows: int) -> None:
            activation = encode_feature(self.index.encoder, x, self.feature).float()
            fires = activation > 0
            at, strong = places[fires], activation[fires]
            parts.append(Entries(torch.full_like(at, self.feature), at, strong, strong))
            if on_progress:
                on_progress(rows * store.tokens_per_row, stored * store.tokens_per_row)

        rows = self._rows
        if rows == 0 and isinstance(self.index, FeatureIndex):
            postings = self.index.postings
            rows = min(postings.until(self.feature) // store.seq_len, stored)
            places = postings.of(self.feature)[0]
            known = torch.from_numpy(places[places < rows * store.seq_len])
            for some in known.split(_AT_ONCE):
                take(some.to(store.lm.device), store.activations_at(some), int(some[-1]) // store.seq_len)
        for places, x in stored_tokens(store, rows, stored):
            take(places, x, int(places[-1]) // store.seq_len + 1)
        found = Entries.cat(parts)
        self._entries = found[torch.argsort(found.activation, descending=True, stable=True)]
        self._rows = stored

    def page(self, start: int, count: int, before: int = 5, after: int = 4) -> Firings:
        """``count`` contexts from the ``start``-th on, with up to ``before`` and ``after`` neighbours."""
        store, entries = self.index.store, self._entries[start : start + count]
        return Firings(
            sae=self.index.name,
            feature=self.feature,
            tokens_read=self._rows * store.tokens_per_row,
            fired=len(self._entries),
            start=start,
            contexts=windows(store, self.index.encoder, entries, self.feature, before, after),
        )
