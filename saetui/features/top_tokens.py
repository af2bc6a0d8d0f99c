"""Top-activating tokens of a few chosen features, exact, in one pass over held-out rows.

The index (``saetui.features.index``) answers for every feature and is kept on disk; this is for the few
features of an encoder that was only just made.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.corpus.rows import TokenRows, batches
from saetui.features.encoder import Encoder
from saetui.features.results import Context
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE

Progress = Callable[[int, int], None]
"""Called with tokens done and tokens in all."""

BATCH_TOKENS = 8192
ROWS_AT_ONCE = 64
ALIKE = 3
"""Top tokens with the same token and so many tokens before it are one piece of evidence, not several."""


def read_tokens(rows: TokenRows, tokens: int, start: int = 0) -> NDArray[np.integer]:
    """So many tokens of ``rows`` from row ``start`` on, ``[n, seq_len]``: a whole number of rows, at least
    one, BOS not counted; fewer where the corpus ends. Two or four bytes a token."""
    count = max(1, tokens // (rows.seq_len - rows.bos))
    parts = list(batches(rows, start, start + count, 1024))
    return np.concatenate(parts) if parts else np.zeros((0, rows.seq_len), np.int32)


def activation_batches(
    lm: LanguageModel, tokens: NDArray[np.integer]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Batches of the rows ``tokens [n, seq_len]``: the first row's number, tokens ``[rows, seq_len]`` and
    activations ``[rows, seq_len, d_in]``."""
    step = max(1, BATCH_TOKENS // tokens.shape[1])
    for start in range(0, len(tokens), step):
        batch = torch.as_tensor(tokens[start : start + step].astype(np.int64), device=lm.device)
        yield start, batch, lm.activations(batch)


def encode_features(encoder: Encoder, x: Tensor, features: Sequence[int]) -> Tensor:
    """Activations ``[..., len(features)]`` of chosen features; by their columns alone where the features
    of the encoder do not compete."""
    chosen = torch.as_tensor(list(features), dtype=torch.long, device=x.device)
    if isinstance(encoder, SAE) and encoder.activation != "topk":
        threshold = None if encoder.threshold is None else encoder.threshold[chosen]
        columns = replace(
            encoder,
            W_enc=encoder.W_enc[:, chosen],
            b_enc=encoder.b_enc[chosen],
            W_dec=encoder.W_dec[chosen],
            threshold=threshold,
        )
        return columns.encode(x)
    return encoder.encode(x)[..., chosen]


@dataclass(frozen=True)
class TopToken:
    row: int
    position: int
    activation: float


@torch.inference_mode()
def top_tokens(
    lm: LanguageModel,
    encoder: Encoder,
    features: Sequence[int],
    tokens: NDArray[np.integer],
    top: int,
    bos: bool,
    on_progress: Progress | None = None,
) -> list[list[TopToken]]:
    """For each feature the ``top`` strongest firing tokens of the rows ``tokens [n, seq_len]``, strongest
    first, ties in the order of the corpus; fewer where it fires on fewer. With ``bos``, position 0 of
    every row is left out."""
    if not features:
        return []
    n_rows, seq_len = tokens.shape
    values = torch.empty(0, len(features))
    places = torch.empty(0, len(features), dtype=torch.long)
    for start, batch, x in activation_batches(lm, tokens):
        f = encode_features(encoder, x, features)
        if bos:
            f[:, 0] = 0
        place = torch.arange(start * seq_len, start * seq_len + batch.numel())
        values = torch.cat([values, f.reshape(-1, len(features)).float().cpu()])
        places = torch.cat([places, place[:, None].expand(-1, len(features))])
        values, order = values.sort(dim=0, descending=True, stable=True)
        values, places = values[:top], places.gather(0, order)[:top]
        if on_progress:
            on_progress((start + len(batch)) * (seq_len - bos), n_rows * (seq_len - bos))
    return [
        [
            TopToken(place // seq_len, place % seq_len, activation)
            for place, activation in zip(places[:, i].tolist(), values[:, i].tolist(), strict=True)
            if activation > 0
        ]
        for i in range(len(features))
    ]


def distinct(places: Sequence[TopToken], tokens: NDArray[np.integer], top: int) -> list[TopToken]:
    """The strongest of every group of alike contexts (the same token after the same ``ALIKE`` tokens), at
    most ``top``: a line that the corpus repeats (a licence, a table) would otherwise fill the list."""
    seen: set[tuple[int, ...]] = set()
    kept: list[TopToken] = []
    for place in places:
        key = tuple(tokens[place.row, max(0, place.position - ALIKE) : place.position + 1].tolist())
        if key not in seen and len(kept) < top:
            seen.add(key)
            kept.append(place)
    return kept


@torch.inference_mode()
def contexts_of(
    lm: LanguageModel,
    encoder: Encoder,
    feature: int,
    places: Sequence[TopToken],
    tokens: NDArray[np.integer],
    bos: bool,
    before: int = 5,
    after: int = 4,
) -> list[Context]:
    """The tokens at ``places`` in the rows ``tokens`` with their neighbours in the row (a BOS is none) and
    the feature's activation on each."""
    contexts: list[Context] = []
    for start in range(0, len(places), ROWS_AT_ONCE):
        some = places[start : start + ROWS_AT_ONCE]
        batch = tokens[[place.row for place in some]].astype(np.int64)
        f = encode_features(encoder, lm.activations(torch.as_tensor(batch, device=lm.device)), [feature])
        for place, ids, activations in zip(some, batch.tolist(), f[..., 0].tolist(), strict=True):
            first, stop = max(int(bos), place.position - before), place.position + after + 1
            contexts.append(
                Context(
                    row=place.row,
                    position=place.position,
                    center=place.position - first,
                    tokens=[lm.tokenizer.token_str(id) for id in ids[first:stop]],
                    activations=activations[first:stop],
                )
            )
    return contexts
