"""Children of a target, found without a criteria file: half of the held-out rows chooses them, half scores.

Rows are unfiltered: a dictionary trained on filtered data must be judged where it will be used.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.errors import UserError
from saetui.features.encoder import Encoder, check_feature
from saetui.features.lens import lens
from saetui.features.results import Child
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
from saetui.sae.sae import SAE
from saetui.split import measures
from saetui.split.measures import Observed
from saetui.split.report import SplitReport, SplitThresholds, Spread

DEFAULT_TOKENS = 300_000


class Dictionary(Encoder, Protocol):
    """An encoder that also reconstructs: an SAE or a graft."""

    def decode(self, f: Tensor) -> Tensor:
        """Reconstructions ``[..., d_in]`` of feature activations ``[..., d_sae]``."""
        ...


@torch.inference_mode()
def split_report(
    lm: LanguageModel,
    encoder: Dictionary,
    narrow: SAE,
    target: int,
    threshold: float,
    rows: TokenRows,
    *,
    candidates: Sequence[int] | None = None,
    excluded: Collection[int] = (),
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    contexts: int = 8,
    on_progress: Progress | None = None,
) -> SplitReport:
    """What became of ``target`` of the ``narrow`` SAE in ``encoder``, over ``tokens`` held-out tokens.

    S are the tokens on which the target's activation exceeds ``threshold``. The first half of the rows
    chooses the children among all features but the ``excluded`` (recall, precision and cosine of
    ``limits``), the second half gives every number. ``candidates`` names the children instead (a graft
    knows its own); all rows then score. Each child comes with up to ``contexts`` top contexts on S.

    UsageError for a target out of range; UserError where there are no rows or the target never fires.
    """
    limits = limits or SplitThresholds()
    check_feature(narrow, target, "the narrow SAE")
    held_out = read_tokens(rows, tokens)
    if candidates is None:
        half = len(held_out) // 2
        choosing, scoring = held_out[:half], held_out[half:]
        candidates = _choose(lm, encoder, narrow, target, threshold, choosing, rows.bos, excluded, limits)
    else:
        scoring = held_out
    seen, places, (fvu_before, fvu_after) = _observe(
        lm, encoder, narrow, target, threshold, scoring, rows.bos, list(candidates), on_progress
    )
    read = len(scoring) * (rows.seq_len - rows.bos)
    if not len(places):
        raise UserError(
            f"feature {target} does not fire above {threshold:g} on {read} held-out tokens of {rows.name}: "
            "lower the threshold or read more tokens"
        )
    repeated = measures.duplicates(seen, limits)
    kept = [c for c in range(len(candidates)) if c not in repeated]
    kept_features = [candidates[c] for c in kept]
    seen = seen.only(kept)
    children = _children(lm, encoder, seen, kept_features, places, scoring, rows.bos, contexts)
    duplicates = [candidates[c] for c in repeated]
    coverage = measures.coverage(seen)
    if not kept:
        kind, why = measures.verdict(seen, 0.0, 0.0, 0.0, 0.0, [], limits)
        nothing = Spread(0.0, 0.0, 0.0)
        return SplitReport(
            target, threshold, read, len(places), kind, why, [], duplicates, nothing, fvu_before, fvu_after
        )
    specificity, effective = measures.specificity(seen), measures.effective_number(seen)
    context, apart = measures.context_information(seen), measures.distinctness(seen)
    kind, why = measures.verdict(
        seen, coverage.value, specificity.value, effective.value, apart, context, limits
    )
    return SplitReport(
        target=target,
        threshold=threshold,
        tokens_read=read,
        tokens_fired=len(places),
        kind=kind,
        why=why,
        children=children,
        duplicates=duplicates,
        coverage=coverage,
        fvu_before=fvu_before,
        fvu_after=fvu_after,
        specificity=specificity,
        effective=effective,
        margin=measures.margin(seen),
        overlap=measures.overlap(seen),
        distinctness=apart,
        context=context,
        logit_divergence=_divergence(lm, encoder, kept_features),
    )


def _choose(
    lm: LanguageModel,
    encoder: Encoder,
    narrow: SAE,
    target: int,
    threshold: float,
    tokens: NDArray[np.integer],
    bos: bool,
    excluded: Collection[int],
    limits: SplitThresholds,
) -> list[int]:
    """Features that pass the limits on recall, precision and cosine on these rows."""
    fired = torch.zeros(encoder.d_sae, dtype=torch.int64)
    on_target = torch.zeros_like(fired)
    hot = 0
    for _, _, x in activation_batches(lm, tokens):
        at = narrow.encode_feature(x, target) > threshold
        on = encoder.encode(x) > 0
        if bos:
            at[:, 0] = on[:, 0] = False
        fired += on.flatten(0, 1).sum(0).cpu()
        on_target += on[at].sum(0).cpu()
        hot += int(at.sum())
    recall, precision = on_target / max(hot, 1), on_target / fired.clamp(min=1)
    cosine = torch.cosine_similarity(encoder.W_dec, narrow.W_dec[target].to(encoder.W_dec)[None]).cpu()
    good = (recall >= limits.recall) & (precision >= limits.precision) & (cosine >= limits.cosine)
    good[list(excluded)] = False
    return good.nonzero().flatten().tolist()


def _observe(
    lm: LanguageModel,
    encoder: Dictionary,
    narrow: SAE,
    target: int,
    threshold: float,
    tokens: NDArray[np.integer],
    bos: bool,
    features: list[int],
    on_progress: Progress | None,
) -> tuple[Observed, NDArray[np.integer], tuple[float, float]]:
    """What ``measures`` needs, the places ``[n, 2]`` (row, position) of the tokens of S, and the FVU on S of
    the narrow SAE and of the encoder."""
    n_rows, seq_len = tokens.shape
    fired = np.zeros((n_rows, len(features)), np.int64)
    parents: list[NDArray] = [np.zeros(0)]
    children: list[NDArray] = [np.zeros((0, len(features)))]
    places: list[NDArray] = [np.zeros((0, 2), np.int64)]
    before, after = _Unexplained(), _Unexplained()
    for start, batch, x in activation_batches(lm, tokens):
        parent = narrow.encode_feature(x, target)
        at = parent > threshold
        f = encode_features(encoder, x, features)
        if bos:
            at[:, 0] = False
            f[:, 0] = 0
        fired[start : start + len(batch)] = (f > 0).sum(1).cpu().numpy()
        parents.append(parent[at].cpu().numpy().astype(float))
        children.append(f[at].cpu().numpy().astype(float))
        before.add(x[at], narrow)
        after.add(x[at], encoder)
        places.append(at.nonzero().cpu().numpy() + np.array([start, 0]))
        if on_progress:
            on_progress((start + len(batch)) * (seq_len - bos), n_rows * (seq_len - bos))
    place = np.concatenate(places)
    row, position = place.T
    padded = np.concatenate([tokens.astype(np.int64), np.full((n_rows, 1), -1)], axis=1)
    seen = Observed(
        parent=np.concatenate(parents),
        children=np.concatenate(children),
        row=row,
        previous=np.where(position > 0, padded[row, position - 1], -1),
        current=padded[row, position],
        next=padded[row, position + 1],
        fired=fired,
        decoder=encoder.W_dec[features].cpu().numpy().astype(float),
        parent_decoder=narrow.W_dec[target].cpu().numpy().astype(float),
    )
    return seen, place, (before.fvu, after.fvu)


class _Unexplained:
    """Σ‖x - x̂‖² / Σ‖x - x̄‖² over tokens as they come, x̄ their mean; sums in fp64."""

    def __init__(self) -> None:
        self._tokens, self._error, self._square = 0, 0.0, 0.0
        self._sum: Tensor | float = 0.0

    def add(self, x: Tensor, dictionary: Dictionary) -> None:
        x = x.float()
        self._error += float((x - dictionary.decode(dictionary.encode(x))).double().square().sum())
        self._square += float(x.double().square().sum())
        self._sum = self._sum + x.double().sum(0)
        self._tokens += len(x)

    @property
    def fvu(self) -> float:
        total = self._square - float(torch.as_tensor(self._sum).square().sum()) / max(self._tokens, 1)
        return self._error / max(total, 1e-12)


def _children(
    lm: LanguageModel,
    encoder: Encoder,
    seen: Observed,
    features: list[int],
    places: NDArray[np.integer],
    tokens: NDArray[np.integer],
    bos: bool,
    contexts: int,
) -> list[Child]:
    share, recall = measures.share(seen), measures.recall(seen)
    precision, cosine = measures.precision(seen), measures.cosine(seen)
    children: list[Child] = []
    for c in np.argsort(-share, kind="stable").tolist():
        best = np.argsort(-seen.children[:, c], kind="stable")[: 8 * contexts]
        top = [
            TopToken(int(places[i, 0]), int(places[i, 1]), float(seen.children[i, c]))
            for i in best
            if seen.children[i, c] > 0
        ]
        children.append(
            Child(
                feature=features[c],
                share=float(share[c]),
                recall=float(recall[c]),
                precision=float(precision[c]),
                cosine=float(cosine[c]),
                contexts=contexts_of(lm, encoder, features[c], distinct(top, tokens, contexts), tokens, bos),
                boosted=lens(lm, encoder, features[c]).boosted if _writes_logits(lm, encoder) else [],
            )
        )
    return children


def _divergence(lm: LanguageModel, encoder: Encoder, features: list[int]) -> float | None:
    if len(features) < 2 or not _writes_logits(lm, encoder):
        return None
    rows = torch.nn.functional.normalize(encoder.W_dec[features], dim=-1)
    logits: Tensor = rows.to(lm.W_U) @ lm.W_U
    return measures.logit_divergence(logits.cpu().double().numpy())


def _writes_logits(lm: LanguageModel, encoder: Encoder) -> bool:
    """Whether the hook point writes to the residual stream, so that there is a logit lens."""
    return encoder.W_dec.shape[1] == lm.W_U.shape[0]
