"""What a graft's children fire on, from the activations that its narrow SAE's index has stored.

Children fire only where the target does, so only those tokens are looked up and encoded, where a pass of its
own would take minutes. Of every other feature the narrow SAE's index tells.
"""

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from saetui.errors import UserError
from saetui.features import contexts
from saetui.features.best import Entries
from saetui.features.encoder import Encoder, check_feature, encode_feature
from saetui.features.index import FeatureIndex, stored_tokens
from saetui.features.lens import lens
from saetui.features.neighbours import cosines
from saetui.features.results import Child, Children, Context, Contexts, Densities
from saetui.features.statistics import TOP, FeatureStatistics

ALIKE = 3
"""Contexts with the same token and so many tokens before it are shown once: corpora repeat themselves."""


STEP = 4096
"""Firings of the target taken in at once."""


class GraftEncoder(Encoder, Protocol):
    """A narrow SAE with children in its target's place: ``saetui.split.grafting.graft.Graft``."""

    @property
    def narrow(self) -> Encoder: ...
    @property
    def target(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    @property
    def children(self) -> range: ...


class GraftIndex:
    """Answers as ``FeatureIndex`` does, for the features of a graft. One thread advances, any may ask."""

    def __init__(self, narrow: FeatureIndex, graft: GraftEncoder, name: str) -> None:
        self.narrow, self.graft, self.name = narrow, graft, name
        self.store = narrow.store
        self.statistics = FeatureStatistics(graft.d_sae, self.store.lm.device)
        self.rows_read = 0
        self.hot = 0
        """Tokens read on which the target fires above the graft's threshold."""
        self._won = torch.zeros(len(graft.children), dtype=torch.int64)
        """Of these, tokens on which each child is the strongest."""

    @property
    def complete(self) -> bool:
        """Whether everything stored is read, and the narrow SAE's index stores no more."""
        return self.narrow.complete and self.caught_up

    @property
    def caught_up(self) -> bool:
        """Whether everything stored so far is read."""
        return self.rows_read >= self.store.activation_rows

    @property
    def tokens_read(self) -> int:
        return self.rows_read * self.store.tokens_per_row

    @property
    def wanted(self) -> int:
        """Tokens that will be read in the end."""
        return max(self.narrow.wanted, self.tokens_read) if not self.complete else self.tokens_read

    @torch.no_grad()
    def advance(self) -> None:
        """Takes in one step of what is stored and not yet read: the target's firings as far as the narrow
        SAE's index keeps them, and a scan behind that."""
        store, target = self.store, self.graft.target
        known = min(self.narrow.postings.until(target) // store.seq_len, store.activation_rows)
        if self.rows_read < known:
            firing, _ = self.narrow.postings.of(target)
            firing = firing[np.searchsorted(firing, self.rows_read * store.seq_len) :]
            stop = known
            if len(firing) > STEP:  # up to the row in which the step ends, and one at least
                stop = min(known, max(self.rows_read, int(firing[STEP]) // store.seq_len - 1) + 1)
            places = torch.from_numpy(firing[: np.searchsorted(firing, stop * store.seq_len)])
            self._take(places.to(store.lm.device), store.activations_at(places), stop)
            return
        for places, x in stored_tokens(store, self.rows_read):
            self._take(places, x, int(places[-1]) // store.seq_len + 1)
            return

    def _take(self, places: Tensor, x: Tensor, stop: int) -> None:
        """Tokens ``x [n, d_in]`` of the rows before ``stop``: all on which the target fires, and others."""
        children = list(self.graft.children)
        own = [self.graft.target, *children]
        parent = encode_feature(self.graft.narrow, x, self.graft.target)
        fires = parent > 0
        f = x.new_zeros(int(fires.sum()), self.graft.d_sae)
        f[:, own] = self.graft.encode(x[fires])[:, own]
        tokens = (stop - self.rows_read) * self.store.tokens_per_row
        self.statistics.add(f, places[fires], tokens=tokens)
        hot = f[parent[fires] > self.graft.threshold][:, children]
        strongest = hot.max(-1)
        winners = strongest.indices[strongest.values > 0]
        self._won += torch.bincount(winners, minlength=len(children)).cpu()
        self.hot += len(hot)
        self.rows_read = stop

    def contexts(self, feature: int, **options: Any) -> Contexts:
        """As ``FeatureIndex.contexts``."""
        check_feature(self.graft, feature, self.name)
        if feature != self.graft.target and feature not in self.graft.children:
            return replace(self.narrow.contexts(feature, **options), sae=self.name)
        return contexts.contexts(
            self.store,
            self.graft,
            self.statistics,
            feature,
            name=self.name,
            complete=self.complete,
            **options,
        )

    @property
    def encoder(self) -> GraftEncoder:
        return self.graft

    @property
    def _own(self) -> list[int]:
        """The features of which this index tells itself."""
        return [self.graft.target, *self.graft.children]

    def top_places(self) -> Tensor:
        """As ``FeatureIndex.top_places``."""
        places, own = self.narrow.top_places(), self.statistics.top.places().cpu()
        places = torch.cat([places, places.new_full((len(own) - len(places), places.shape[1]), -1)])
        places[self._own] = own[self._own]
        return places

    def firing_counts(self) -> tuple[int, Tensor]:
        """As ``FeatureIndex.firing_counts``; another feature's count is scaled to the tokens of this index,
        where the narrow SAE's has read others."""
        (read, inherited), (tokens, own) = self.narrow.firing_counts(), self.statistics.densities()
        fired = torch.zeros_like(own)
        fired[: len(inherited)] = (inherited.double() * tokens / max(read, 1)).round().long()
        fired[self._own] = own[self._own]
        return tokens, fired

    def highest(self) -> Tensor:
        """As ``FeatureIndex.highest``."""
        own, inherited = self.statistics.max_activation, self.narrow.highest()
        highest = torch.cat([inherited, own[len(inherited) :]])
        highest[self._own] = own[self._own]
        return highest

    def densities(self) -> Densities:
        """As ``FeatureIndex.densities``; a child's is over the tokens of this index."""
        inherited = self.narrow.densities()
        tokens, fired = self.statistics.densities()
        density = [*inherited.density, *[0.0] * len(self.graft.children)]
        highest = [*inherited.max_activation, *[0.0] * len(self.graft.children)]
        for feature in self._own:
            density[feature] = int(fired[feature]) / max(tokens, 1)
            highest[feature] = float(self.statistics.max_activation[feature])
        return Densities(self.name, tokens, density, highest, self.complete)

    @torch.no_grad()
    def children(self, shown: int = 8, boosted: int = 10) -> Children:
        """The children over the tokens read, with up to ``shown`` distinct contexts each. UserError where the
        target has fired on none of them: then nothing is known of the children.

        ``precision`` is 1 by construction. Without a logit lens at this hook point nothing is boosted.
        """
        if not self.hot:
            raise UserError(
                f"feature {self.graft.target} is above {self.graft.threshold:g} on none of the "
                f"{self.tokens_read:,} tokens read so far"
            )
        features = list(self.graft.children)
        cosine = cosines(self.graft.narrow.W_dec[self.graft.target], self.graft.W_dec).tolist()
        _, fired = self.statistics.densities()
        readable = self.graft.W_dec.shape[1] == self.store.lm.W_U.shape[0]
        found = [
            Child(
                feature=feature,
                share=won / self.hot,
                recall=int(fired[feature]) / self.hot,
                precision=1.0,
                cosine=cosine[feature],
                contexts=self._distinct(feature, shown),
                boosted=lens(self.store.lm, self.graft, feature, boosted).boosted if readable else [],
            )
            for feature, won in zip(features, self._won.tolist(), strict=True)
        ]
        return Children(
            sorted(found, key=lambda child: -child.share),
            threshold=self.graft.threshold,
            fired=self.hot,
            tokens_read=self.tokens_read,
            held_out=False,
            complete=self.complete,
        )

    def _distinct(self, feature: int, shown: int) -> list[Context]:
        seq, first = self.store.seq_len, self.store.first
        entries = self.statistics.top.of(feature)
        chosen: list[int] = []
        seen: set[tuple[int, ...]] = set()
        for i, place in enumerate(entries.place[:TOP].tolist()):
            row, position = divmod(place, seq)
            key = tuple(self.store.row_tokens(row)[max(first, position - ALIKE) : position + 1].tolist())
            if key not in seen and len(chosen) < shown:
                seen.add(key)
                chosen.append(i)
        kept: Entries = entries[torch.tensor(chosen, dtype=torch.int64)]
        return contexts.windows(self.store, self.graft, kept, feature, before=5, after=4)
