"""Finding features by what they do: by a token that they fire on, by a word that they boost, by number."""

from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UsageError
from saetui.features.graft_index import GraftIndex
from saetui.features.index import FeatureIndex
from saetui.features.lens_table import LensTable
from saetui.features.results import Findings, Found, FoundBy

_SHOWN_TOKENS = 3
"""Different tokens that a line names."""


def plain(text: str) -> str:
    """A token or a query as they are compared: without the spaces around it, in small letters."""
    return text.strip().casefold()


@lru_cache(maxsize=4)
def _vocabulary(tokenizer: Tokenizer) -> list[str]:
    """Every token as ``plain`` text, by id."""
    return [plain(tokenizer.token_str(token)) for token in range(tokenizer.d_vocab)]


@dataclass(frozen=True)
class _Query:
    """What of the vocabulary a query means: masks ``[d_vocab]`` of the tokens that are it and of those that
    only begin with it, and the token ids of spellings that take several."""

    exact: NDArray[np.bool_]
    prefix: NDArray[np.bool_]
    spellings: list[list[int]]


def _understood(text: str, tokenizer: Tokenizer) -> _Query:
    wanted, vocabulary = plain(text), _vocabulary(tokenizer)
    exact = np.fromiter((token == wanted for token in vocabulary), bool, len(vocabulary))
    prefix = np.fromiter((token.startswith(wanted) for token in vocabulary), bool, len(vocabulary)) & ~exact
    stripped = text.strip()
    spellings = [tokenizer.encode(form) for form in dict.fromkeys((stripped, f" {stripped}"))]
    faithful = [ids for ids in spellings if plain("".join(map(tokenizer.token_str, ids))) == wanted]
    return _Query(exact, prefix, [ids for ids in faithful if len(ids) > 1])


@torch.no_grad()
def find(
    index: FeatureIndex | GraftIndex, table: LensTable, text: str, by: FoundBy | None = None, top: int = 50
) -> Findings:
    """Features of the index's dictionary that ``text`` means, at most ``top`` of each kind (or ``by`` one):

    - ``number``: the feature of that number;
    - ``token``: those whose top-activating tokens are it, or, after these, begin with it, most of them first;
      a text of several tokens is looked for before and on the top token;
    - ``boosted``: those with it among their most boosted tokens, the highest place first.

    UsageError for an empty text and for a ``by`` that is none of these.
    """
    if by is not None and by not in get_args(FoundBy):
        raise UsageError(f"features are not found by {by!r}: by {', '.join(get_args(FoundBy))}")
    if not text.strip():
        raise UsageError("nothing to look for: give a number, a token or a word")
    query, found, notes = _understood(text, index.store.lm.tokenizer), list[Found](), list[str]()
    known = _Facts(index)
    if by in (None, "number") and text.strip().isdecimal():
        number = int(text)
        if number < index.encoder.d_sae:
            found.append(known.found(number, "number", True))
        else:
            notes.append(f"{index.name} has features 0 to {index.encoder.d_sae - 1}")
    if by in (None, "token"):
        found += _by_token(index, query, known, top)
        if not index.complete:
            notes.append(f"{index.tokens_read:,} tokens are read so far")
    if by in (None, "boosted"):
        found += _by_boosted(index, table, query, known, top)
        if not table.readable:
            notes.append("no logit lens at this hook point")
        elif not table.complete:
            notes.append(f"the logit lens of {table.done:,} features is read so far")
    order = {"number": 0, "token": 1, "boosted": 2}
    found.sort(key=lambda one: (one.by != "number", not one.exact, order[one.by]))  # stable
    return Findings(index.name, text, found, " · ".join(notes), index.complete and table.complete)


class _Facts:
    """Density and largest activation of every feature, to be looked up."""

    def __init__(self, index: FeatureIndex | GraftIndex) -> None:
        self._tokens, self._fired = index.firing_counts()
        self.highest = index.highest().cpu().numpy()

    def found(self, feature: int, by: FoundBy, exact: bool, **more: object) -> Found:
        density = int(self._fired[feature]) / max(self._tokens, 1)
        return Found(feature, by, exact, density, float(self.highest[feature]), **more)  # type: ignore[arg-type]


def _by_token(index: FeatureIndex | GraftIndex, query: _Query, known: _Facts, top: int) -> list[Found]:
    places = index.top_places()  # [d_sae, k], -1: none
    held = (places >= 0).numpy()
    tokens = index.store.tokens_at(places.clamp_min(0))
    exact = query.exact[tokens]
    for ids in query.spellings:
        exact |= _spelled(index, places, tokens, ids)
    exact &= held
    prefix = query.prefix[tokens] & held & ~exact
    tokenizer = index.store.lm.tokenizer
    found: list[Found] = []
    for is_exact, match in ((True, exact), (False, prefix)):
        counts = match.sum(-1)
        best = np.lexsort((-known.highest, -counts))[:top]
        for feature in best[counts[best] > 0].tolist():
            ids, often = np.unique(tokens[feature][match[feature]], return_counts=True)
            shown = [tokenizer.token_str(int(ids[i])) for i in np.argsort(-often, kind="stable")]
            found.append(
                known.found(
                    feature, "token", is_exact, tokens=shown[:_SHOWN_TOKENS],
                    count=int(counts[feature]), of=int(held[feature].sum()),
                )
            )  # fmt: skip
    return found


def _spelled(
    index: FeatureIndex | GraftIndex, places: Tensor, tokens: NDArray[np.integer], ids: list[int]
) -> NDArray[np.bool_]:
    """Which of ``places`` end a row's stretch of the tokens ``ids``."""
    match = tokens == ids[-1]
    for back, token in enumerate(reversed(ids[:-1]), 1):
        within = (places % index.store.seq_len >= index.store.first + back).numpy()
        match &= within & (index.store.tokens_at((places - back).clamp_min(0)) == token)
    return match


def _by_boosted(
    index: FeatureIndex | GraftIndex, table: LensTable, query: _Query, known: _Facts, top: int
) -> list[Found]:
    tokens, done = table.tokens.numpy(), np.arange(len(table.tokens))[:, None] < table.done
    tokenizer = index.store.lm.tokenizer
    found: list[Found] = []
    seen = np.zeros(len(tokens), bool)
    for is_exact, mask in ((True, query.exact), (False, query.prefix)):
        match = mask[tokens] & done & ~seen[:, None]
        features = np.flatnonzero(match.any(-1))
        seen[features] = True
        ranks = match[features].argmax(-1)
        logits = table.logits.numpy()[features, ranks]
        for at in np.lexsort((-logits, ranks))[:top]:
            feature, rank = int(features[at]), int(ranks[at])
            ids = tokens[feature][match[feature]][:_SHOWN_TOKENS]
            found.append(
                known.found(
                    feature, "boosted", is_exact, tokens=[tokenizer.token_str(int(i)) for i in ids],
                    rank=rank + 1, logit=float(logits[at]),
                )
            )  # fmt: skip
    return found
