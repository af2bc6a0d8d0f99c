"""Two features side by side, of one dictionary or of two: where they agree and what only one of them has."""

from dataclasses import dataclass

import torch
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.features.encoder import Encoder, check_feature
from saetui.features.neighbours import cosines
from saetui.features.results import Pair, PairContext, PairSide
from saetui.features.top_tokens import (
    Progress,
    TopToken,
    activation_batches,
    contexts_of,
    distinct,
    encode_features,
    read_tokens,
)
from saetui.lm.base import LanguageModel

DEFAULT_TOKENS = 200_000
_CANDIDATES = 16
"""Tokens looked at for every context that is shown: alike ones are shown once."""


@dataclass(frozen=True)
class Feature:
    """A feature of a dictionary, and what the output calls that."""

    encoder: Encoder
    index: int
    sae: str


@torch.inference_mode()
def pair(
    lm: LanguageModel,
    first: Feature,
    second: Feature,
    rows: TokenRows,
    *,
    tokens: int = DEFAULT_TOKENS,
    contexts: int = 12,
    points: int = 2000,
    on_progress: Progress | None = None,
) -> Pair:
    """Both features over ``tokens`` tokens of ``rows``: see ``Pair``, with ``contexts`` lines in each of its
    lists and at most ``points`` points. UsageError for a feature out of range."""
    for one in (first, second):
        check_feature(one.encoder, one.index, one.sae)
    held_out = read_tokens(rows, tokens)
    n_rows, seq_len = held_out.shape
    read = n_rows * (seq_len - rows.bos)
    parts: list[Tensor] = []
    places: list[Tensor] = []
    for start, batch, x in activation_batches(lm, held_out):
        f = torch.stack([encode_features(s.encoder, x, [s.index])[..., 0] for s in (first, second)], -1)
        if rows.bos:
            f[:, 0] = 0
        at = (f > 0).any(-1)
        parts.append(f[at].double().cpu())
        places.append((at.flatten().nonzero().flatten() + start * seq_len).cpu())
        if on_progress:
            on_progress((start + len(batch)) * (seq_len - rows.bos), read)
    f, place = torch.cat(parts), torch.cat(places)
    a, b = f.unbind(1)

    def listed(score: Tensor) -> list[PairContext]:
        """The tokens of the highest positive ``score [n]``, with their contexts."""
        best = score.argsort(descending=True, stable=True)[: _CANDIDATES * contexts]
        found = [
            TopToken(p // seq_len, p % seq_len, s)
            for p, s in zip(place[best].tolist(), score[best].tolist(), strict=True)
            if s > 0
        ]
        shown = distinct(found, held_out, contexts)
        sides = [contexts_of(lm, s.encoder, s.index, shown, held_out, rows.bos) for s in (first, second)]
        return [
            PairContext(c.row, c.position, c.center, c.tokens, c.activations, other.activations)
            for c, other in zip(*sides, strict=True)
        ]

    both = int(((a > 0) & (b > 0)).sum())
    spaced = torch.arange(0, len(f), max(1, -(-len(f) // points)))
    direction, other = (s.encoder.W_dec[s.index] for s in (first, second))
    return Pair(
        first=_side(first, a, b, read),
        second=_side(second, b, a, read),
        tokens_read=read,
        both=both,
        cosine=float(cosines(direction, other[None])[0]),
        jaccard=both / max(len(f), 1),
        correlation=_correlation(a, b, read),
        points=f[spaced].tolist(),
        by_first=listed(a),
        by_second=listed(b),
        only_first=listed(a.masked_fill(b > 0, 0)),
        only_second=listed(b.masked_fill(a > 0, 0)),
    )


def _side(one: Feature, own: Tensor, other: Tensor, read: int) -> PairSide:
    on = own > 0
    fired = int(on.sum())
    norms = own[on].norm() * other[on].norm()
    return PairSide(
        sae=one.sae,
        feature=one.index,
        fired=fired,
        density=fired / max(read, 1),
        max_activation=float(own.max()) if fired else 0.0,
        covered=int((other[on] > 0).sum()) / max(fired, 1),
        masked_cosine=float(own[on] @ other[on] / norms) if norms > 0 else 0.0,
    )


def _correlation(a: Tensor, b: Tensor, read: int) -> float | None:
    """Pearson's r over ``read`` tokens, of which all but those given are zero in both."""
    covariance = a @ b / read - a.sum() * b.sum() / read**2
    variances = [v @ v / read - (v.sum() / read) ** 2 for v in (a, b)]
    product = variances[0] * variances[1]
    return float(covariance / product.sqrt()) if product > 0 else None
