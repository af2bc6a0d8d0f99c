"""Which features may be children of a target: those that pass the limits on the rows that choose."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.features.encoder import Encoder
from saetui.features.top_tokens import activation_batches, encode_features
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.finding.report import Funnel, Leak, SplitThresholds

_LEADING_TOKENS = 4096
"""Tokens of a target on which it is counted which candidate leads, at most."""
_LEAKING_SHOWN = 8


@dataclass(frozen=True)
class Parent:
    """A feature of the narrow SAE, and above what activation a token is its own."""

    feature: int
    threshold: float


@dataclass(frozen=True)
class Candidates:
    features: list[int]
    funnel: Funnel | None
    """None where the features were named."""


def choose(
    lm: LanguageModel,
    encoder: Encoder,
    narrow: SAE,
    parents: Sequence[Parent],
    tokens: NDArray[np.integer],
    bos: bool,
    excluded: Collection[int],
    limits: SplitThresholds,
) -> list[Candidates]:
    """The candidates of every parent among all features but the ``excluded``, in one pass over ``tokens``."""
    shape = (len(parents), encoder.d_sae)
    on, inside = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    total = torch.zeros(encoder.d_sae, dtype=torch.float64)
    hot = [0] * len(parents)
    kept: list[list[Tensor]] = [[] for _ in parents]
    for _, _, x in activation_batches(lm, tokens):
        a = encode_features(narrow, x, [parent.feature for parent in parents])
        f = encoder.encode(x)
        if bos:
            a[:, 0], f[:, 0] = 0, 0
        total += f.flatten(0, 1).sum(0).double().cpu()
        for i, parent in enumerate(parents):
            at = a[..., i] > parent.threshold
            on[i] += (f[at] > 0).sum(0).double().cpu()
            inside[i] += f[a[..., i] > 0].sum(0).double().cpu()
            if hot[i] < _LEADING_TOKENS:
                kept[i].append(x[at])
            hot[i] += int(at.sum())
    return [
        _candidates(
            encoder,
            on[i] / max(hot[i], 1),
            inside[i] / total.clamp(min=1e-12),
            torch.cosine_similarity(encoder.W_dec, narrow.W_dec[parent.feature].to(encoder.W_dec)[None]),
            torch.cat(kept[i])[:_LEADING_TOKENS],
            excluded,
            limits,
        )
        for i, parent in enumerate(parents)
    ]


def _candidates(
    encoder: Encoder,
    recall: Tensor,
    precision: Tensor,
    cosine: Tensor,
    hot: Tensor,
    excluded: Collection[int],
    limits: SplitThresholds,
) -> Candidates:
    allowed = torch.ones_like(recall, dtype=torch.bool)
    allowed[list(excluded)] = False
    recalled = allowed & (recall >= limits.recall)
    aligned = recalled & (cosine.cpu() >= limits.cosine)
    faithful = aligned & (precision >= limits.precision)
    features = faithful.nonzero().flatten().tolist()
    f = encode_features(encoder, hot, features)
    leads = _leads(f, limits.share)
    # One that repeats a leading one is named as its duplicate later, not passed over in silence; and where
    # the target is still there, its children are no split, whoever leads.
    still = ((cosine.cpu() >= limits.copy_cosine) & (recall > limits.recall_of_one))[features]
    kept = leads | still | _alike(f, encoder.W_dec[features], limits)[:, leads].any(1)
    leaking = (aligned & ~faithful).nonzero().flatten().tolist()
    leaking.sort(key=lambda feature: -float(precision[feature]))
    return Candidates(
        [features[c] for c in kept.nonzero().flatten().tolist()],
        Funnel(
            features=int(allowed.sum()),
            recalled=int(recalled.sum()),
            aligned=int(aligned.sum()),
            faithful=len(features),
            leading=int(leads.sum()),
            leaking=[Leak(feature, float(precision[feature])) for feature in leaking[:_LEAKING_SHOWN]],
        ),
    )


def _leads(f: Tensor, share: float) -> Tensor:
    """Which of the features, activations ``f [n, k]``, are the strongest on at least ``share`` of them."""
    n, k = f.shape
    if not k:
        return torch.zeros(0, dtype=torch.bool)
    won = torch.bincount(f.argmax(-1)[(f > 0).any(-1)], minlength=k).cpu()
    return won >= max(1.0, share * n)


def _alike(f: Tensor, decoder: Tensor, limits: SplitThresholds) -> Tensor:
    """Which pairs of features count as duplicates (``measures.duplicates``), ``[k, k]``."""
    on = (f > 0).float()
    both = on.T @ on
    either = on.sum(0)[:, None] + on.sum(0)[None] - both
    directions = torch.nn.functional.normalize(decoder.float(), dim=-1)
    same_tokens = both / either.clamp(min=1) >= limits.duplicate
    return (same_tokens & (directions @ directions.T >= limits.copy_cosine)).cpu()
