"""Children of a target, found without a criteria file: half of the held-out rows chooses them, half scores.

Rows are unfiltered: a dictionary trained on filtered data must be judged where it will be used.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.errors import UserError
from saetui.features.encoder import Dictionary, Encoder, check_feature
from saetui.features.lens import lens
from saetui.features.results import Child
from saetui.features.top_tokens import Progress, TopToken, contexts_of, distinct, read_tokens
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.finding import measures
from saetui.split.finding.candidates import Candidates, Parent, choose
from saetui.split.finding.controls import control_parents, controls
from saetui.split.finding.measures import Observed
from saetui.split.finding.observing import Observation, observe
from saetui.split.finding.report import SplitReport, SplitThresholds
from saetui.split.finding.split_kind import summarise

DEFAULT_TOKENS = 300_000
CONTROLS = 19
"""So that a target which none of them reaches has p = 0.05."""


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
    inherited: int | None = None,
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    contexts: int = 8,
    control_features: int = 0,
    on_progress: Progress | None = None,
) -> SplitReport:
    """What became of ``target`` of the ``narrow`` SAE in ``encoder``, over ``tokens`` held-out tokens.

    S are the tokens on which the target's activation exceeds ``threshold``. The first half of the rows
    chooses the children among all features but the ``excluded`` (``saetui.split.finding.candidates``), the
    second half gives every number, and as many ``control_features`` go the same way. ``candidates`` names the
    children instead (a graft knows its own); all rows then score, and there are no controls. ``inherited`` is
    the feature that began as the target, which the report marks. Each child comes with up to ``contexts`` top
    contexts on S.

    UsageError for a target out of range; UserError where there are no rows or the target never fires.
    """
    limits = limits or SplitThresholds()
    parents, chosen, observed, scoring = _look(
        lm,
        encoder,
        narrow,
        Parent(target, threshold),
        rows,
        candidates,
        excluded,
        tokens,
        limits,
        control_features,
        on_progress,
    )
    found, fvu = summarise(observed[0].seen, limits), observed[0].fvu
    assert fvu is not None
    features = [chosen[0].features[c] for c in found.kept]
    seen = observed[0].seen.only(found.kept)
    return SplitReport(
        target=target,
        threshold=threshold,
        tokens_read=len(scoring) * (rows.seq_len - rows.bos),
        tokens_fired=len(observed[0].places),
        kind=found.kind,
        why=found.why,
        children=_children(lm, encoder, seen, features, observed[0], scoring, rows.bos, contexts),
        duplicates=[chosen[0].features[c] for c in found.repeated],
        coverage=found.coverage,
        fvu_before=fvu.before,
        fvu_after=fvu.after,
        fvu_without=fvu.without,
        specificity=found.specificity,
        effective=found.effective,
        margin=measures.margin(seen) if features else None,
        overlap=measures.overlap(seen) if features else None,
        distinctness=found.distinctness,
        context=found.context,
        logit_divergence=_divergence(lm, encoder, features),
        limits=limits,
        inherited=inherited if inherited in features else None,
        funnel=chosen[0].funnel,
        controls=controls(parents[1:], [one.seen for one in observed[1:]], limits),
    )


@dataclass(frozen=True)
class SeenChildren:
    """Children, largest share first, and what they do on the tokens of the target in the second half of the
    held-out rows."""

    children: list[Child]
    activations: NDArray[np.floating]
    """``[n, k]``, columns in the order of ``children``."""
    tokens_read: int
    """In that half; the n are the target's."""


@torch.inference_mode()
def seen_children(
    lm: LanguageModel,
    encoder: Dictionary,
    narrow: SAE,
    target: int,
    threshold: float,
    rows: TokenRows,
    *,
    candidates: Sequence[int] | None = None,
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    contexts: int = 8,
    on_progress: Progress | None = None,
) -> SeenChildren:
    """The children that ``split_report`` has, without what it spends most of its time on: intervals,
    permutations, a verdict. Arguments and errors are its."""
    limits = limits or SplitThresholds()
    parent = Parent(target, threshold)
    _, chosen, observed, scoring = _look(
        lm, encoder, narrow, parent, rows, candidates, (), tokens, limits, 0, on_progress
    )
    repeated = measures.duplicates(observed[0].seen, limits)
    kept = [c for c in range(len(chosen[0].features)) if c not in repeated]
    features, seen = [chosen[0].features[c] for c in kept], observed[0].seen.only(kept)
    children = _children(lm, encoder, seen, features, observed[0], scoring, rows.bos, contexts)
    half = len(scoring) // 2 if candidates is not None else 0  # named ones were scored on all rows
    columns = [features.index(child.feature) for child in children]
    return SeenChildren(
        children,
        seen.children[seen.row >= half][:, columns],
        (len(scoring) - half) * (rows.seq_len - rows.bos),
    )


def _look(
    lm: LanguageModel,
    encoder: Dictionary,
    narrow: SAE,
    parent: Parent,
    rows: TokenRows,
    candidates: Sequence[int] | None,
    excluded: Collection[int],
    tokens: int,
    limits: SplitThresholds,
    control_features: int,
    on_progress: Progress | None,
) -> tuple[list[Parent], list[Candidates], list[Observation], NDArray[np.integer]]:
    """``parent`` and its controls, the candidates of each, what was seen of them, and the rows that score."""
    check_feature(narrow, parent.feature, "the narrow SAE")
    held_out = read_tokens(rows, tokens)
    parents, scoring = [parent], held_out
    if candidates is not None:
        chosen = [Candidates(list(candidates), None)]
    else:
        half = len(held_out) // 2
        choosing, scoring = held_out[:half], held_out[half:]
        parents += control_parents(lm, narrow, parent, choosing, rows.bos, control_features)
        chosen = choose(lm, encoder, narrow, parents, choosing, rows.bos, excluded, limits)
    observed = observe(
        lm, encoder, narrow, parents, [one.features for one in chosen], scoring, rows.bos, on_progress
    )
    if not len(observed[0].places):
        raise UserError(
            f"feature {parent.feature} does not fire above {parent.threshold:g} on "
            f"{len(scoring) * (rows.seq_len - rows.bos)} held-out tokens of {rows.name}: "
            "lower the threshold or read more tokens"
        )
    return parents, chosen, observed, scoring


def _children(
    lm: LanguageModel,
    encoder: Encoder,
    seen: Observed,
    features: list[int],
    observation: Observation,
    tokens: NDArray[np.integer],
    bos: bool,
    contexts: int,
) -> list[Child]:
    share, recall = measures.share(seen), measures.recall(seen)
    precision, cosine = measures.precision(seen), measures.cosine(seen)
    masked, places = measures.masked_cosine(seen), observation.places
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
                masked_cosine=float(masked[c]),
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
