"""What the cards say of a world's SAEs: numbers measured on held-out rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.features.encoder import Dictionary
from saetui.features.top_tokens import BATCH_TOKENS, read_tokens
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.judging.child_f1 import CUT, ChildF1
from saetui.split.judging.criteria import Criteria
from saetui.split.judging.judge import CONTEXT_BEFORE
from saetui.split.judging.word_contexts import best_features
from saetui.split.training.evaluate import Evaluation

CE_TOKENS = 65_536


@dataclass(frozen=True)
class Coverage:
    """How well a feature's activation tells the token from all others. ``auc``: the chance that it is higher
    on one of the token's occurrences than on another token (ties count half). ``f1``: the best over all
    cuts, reached at ``cut``. ``recall`` and ``precision`` of "above the threshold"; ``top1``: share of the
    token's occurrences on which it is the strongest feature."""

    feature: int
    auc: float
    f1: float
    cut: float
    threshold: float
    recall: float
    precision: float
    top1: float


@dataclass(frozen=True)
class Quality:
    """Of one SAE, on tokens that no filter has touched; definitions in ``saetui.split.training.evaluate``."""

    tokens: int
    l0: float
    fvu: float
    dead: float
    """Share of features that fire on none of these tokens."""
    ce: float
    ce_recovered: float


class HeldOut:
    """The first ``tokens`` held-out tokens of a world, and what its token's occurrences look like there."""

    def __init__(self, lm: LanguageModel, rows: TokenRows, token: str, tokens: int) -> None:
        token_id = lm.tokenizer.token_id(token)
        assert token_id is not None, f"{token!r} is one token in both worlds"
        self._lm, self._rows = lm, rows
        read = read_tokens(rows, tokens)
        self._tokens = read
        self.characters_per_token = len(lm.tokenizer.decode(read[:, 1:].ravel().tolist())) / read[:, 1:].size
        self.is_token = torch.from_numpy(read[:, 1:] == token_id).flatten()
        self.before = [
            "".join(lm.tokenizer.token_str(id) for id in read[row, max(1, at + 1 - CONTEXT_BEFORE) : at + 1])
            for row, at in np.argwhere(read[:, 1:] == token_id).tolist()
        ]
        """The text before every occurrence, as the judge reads it."""

    @torch.inference_mode()
    def encode(self, encoder: Dictionary, features: Sequence[int] | None = None) -> Tensor:
        """Activations ``[tokens, features]``, BOS left out."""
        step = max(1, BATCH_TOKENS // self._tokens.shape[1])
        chosen = slice(None) if features is None else list(features)
        parts = []
        for start in range(0, len(self._tokens), step):
            tokens = torch.from_numpy(self._tokens[start : start + step].astype(np.int64))
            parts.append(encoder.encode(self._lm.activations(tokens)[:, 1:])[..., chosen].flatten(0, 1))
        return torch.cat(parts)

    def best_feature(self, sae: SAE) -> int:
        """The feature that covers the token best: the largest AUC."""
        f = self.encode(sae)
        on = f[self.is_token]
        # The others need no sorting: they do not fire on half of the occurrences.
        often = (on > 0).double().mean(0)
        candidates = (often >= min(0.5, float(often.max()))).nonzero().flatten().tolist()
        return max(candidates, key=lambda feature: _auc(f[:, feature], self.is_token))

    def coverage(self, sae: SAE, feature: int, threshold: float) -> Coverage:
        f = self.encode(sae)
        own, y = f[:, feature], self.is_token
        f1, cut = _best_f1(own, y)
        fires = own > threshold
        hits = int((fires & y).sum())
        return Coverage(
            feature=feature,
            auc=_auc(own, y),
            f1=f1,
            cut=cut,
            threshold=threshold,
            recall=hits / int(y.sum()),
            precision=hits / max(1, int(fires.sum())),
            top1=float((f[y].argmax(1) == feature).double().mean()),
        )

    def children(
        self, encoder: Dictionary, criteria: Criteria, features: Sequence[int] | None = None
    ) -> list[ChildF1]:
        """One for every child of ``criteria``, among ``features`` (None: all)."""
        looked_at = list(range(encoder.d_sae) if features is None else features)
        f = self.encode(encoder, looked_at)
        on = f[self.is_token].numpy()
        mass = on.sum(0, dtype=np.float64) / np.maximum(f.sum(0, dtype=torch.float64).numpy(), 1e-12)
        is_child = np.array([[child.follows(text) for child in criteria.children] for text in self.before])
        best, f1 = best_features(on, is_child, mass >= CUT)
        return [
            ChildF1(
                child=child.name,
                count=int(is_child[:, c].sum()),
                feature=looked_at[best[c]] if best[c] >= 0 else -1,
                f1=float(f1[c]),
                mass=float(mass[best[c]]) if best[c] >= 0 else 0.0,
            )
            for c, child in enumerate(criteria.children)
        ]

    def quality(self, encoder: Dictionary) -> tuple[Quality, Tensor]:
        """And the density of every feature, ``[d_sae]``."""
        evaluation = Evaluation(self._lm, self._rows, len(self.is_token), CE_TOKENS)
        found, loss = evaluation.quality(encoder), evaluation.loss_recovered(encoder)
        dead = float((found.density == 0).double().mean())
        return (
            Quality(found.tokens, found.l0, found.fvu, dead, loss.ce, loss.ce_recovered),
            found.density,
        )


def _best_f1(f: Tensor, y: Tensor) -> tuple[float, float]:
    order = f.argsort(descending=True, stable=True)
    ranked, hits = f[order], y[order].double().cumsum(0)
    said = torch.arange(1, len(f) + 1)
    between = torch.cat([ranked[:-1] > ranked[1:], torch.ones(1, dtype=torch.bool)]) & (ranked > 0)
    f1 = torch.where(between, 2 * hits / (said + y.sum()), 0.0)
    best = int(f1.argmax())
    return float(f1[best]), float(ranked[best])


def _auc(f: Tensor, y: Tensor) -> float:
    others = f[~y].sort().values
    below = torch.searchsorted(others, f[y]).double()
    not_above = torch.searchsorted(others, f[y], right=True).double()
    return float((below + not_above).mean() / 2 / len(others))
