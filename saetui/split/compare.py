"""Which children two runs share: a graft and a wide SAE, or any two runs that split the same target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.errors import UsageError
from saetui.features.encoder import encoder_hash
from saetui.features.results import Child
from saetui.features.top_tokens import Progress, activation_batches, encode_features, read_tokens
from saetui.lm.base import LanguageModel
from saetui.loading import load_lm, load_sae, open_rows
from saetui.runs.cost import Cost, cost
from saetui.runs.store import Run
from saetui.sae.sae import SAE
from saetui.split.children import split_report
from saetui.split.comparison import ComparedRun, Comparison, Match
from saetui.split.graft import Graft
from saetui.split.matching import best_matching
from saetui.split.observing import Dictionary
from saetui.split.outcome import open_outcome, setup_of
from saetui.split.report import SplitThresholds

DEFAULT_TOKENS = 100_000
AGREEMENT = 0.5
"""Two children of this agreement, and of the cosine that makes a child, count as one. Ours."""


@dataclass(frozen=True)
class Side:
    """A dictionary with the children of the target in it; for a graft they are known, None: to be found."""

    encoder: Dictionary
    candidates: Sequence[int] | None
    run: str
    kind: str
    cost: Cost


def compare_runs(
    first: Run,
    second: Run,
    *,
    lm: LanguageModel | None = None,
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    agreement: float = AGREEMENT,
    on_progress: Progress | None = None,
) -> Comparison:
    """Compares two finished runs on held-out rows of the first one's setup. UsageError where they did not
    split the same target of the same narrow SAE; UserError where one has no result."""
    outcomes = [open_outcome(run) for run in (first, second)]
    targets = [outcome.target for outcome in outcomes]
    if targets[0] != targets[1]:
        raise UsageError(
            f"{first.id} split feature {targets[0]} and {second.id} feature {targets[1]}: "
            "only runs of one target compare"
        )
    setup = setup_of(first)
    lm = lm or load_lm(setup)
    narrow, other = (
        o.encoder.narrow if isinstance(o.encoder, Graft) else load_sae(setup_of(o.run)) for o in outcomes
    )
    if encoder_hash(narrow) != encoder_hash(other):
        raise UsageError(f"{first.id} and {second.id} split different narrow SAEs: their targets are not one")
    sides = [
        Side(o.encoder.to(lm.device), o.children, o.run.id, o.run.manifest.kind, cost(o.run))
        for o in outcomes
    ]
    return compare(
        lm,
        narrow.to(lm.device),
        targets[0],
        max(outcome.threshold for outcome in outcomes),
        sides[0],
        sides[1],
        open_rows(setup, lm.tokenizer, "eval"),
        tokens=tokens,
        limits=limits,
        agreement=agreement,
        on_progress=on_progress,
    )


def compare(
    lm: LanguageModel,
    narrow: SAE,
    target: int,
    threshold: float,
    first: Side,
    second: Side,
    rows: TokenRows,
    *,
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    agreement: float = AGREEMENT,
    on_progress: Progress | None = None,
) -> Comparison:
    """Finds the children of each side (``split_report``) and matches them by their activations where
    ``target`` of ``narrow`` fires above ``threshold``; see ``Comparison``.

    Only there, because a graft's children are silent elsewhere by construction and a wide SAE's are not.
    """
    limits = limits or SplitThresholds()
    children = [
        _children(lm, narrow, target, threshold, side, rows, tokens, limits, on_progress)
        for side in (first, second)
    ]
    held_out = read_tokens(rows, tokens)
    held_out = held_out[len(held_out) // 2 :]  # the first half chose the children
    f = _activations(lm, narrow, target, threshold, (first, second), children, held_out, rows.bos)
    a, b = (_unit(values.numpy()) for values in f)
    agreements = a.T @ b
    directions = [
        _unit(side.encoder.W_dec[[child.feature for child in found]].double().cpu().numpy().T)
        for side, found in zip((first, second), children, strict=True)
    ]
    cosines = directions[0].T @ directions[1]

    def match(i: int, j: int) -> Match:
        one, other = children[0][i].feature, children[1][j].feature
        return Match(one, other, float(cosines[i, j]), float(agreements[i, j]))

    # Pairs that are not alike count nothing: the sum of many small agreements must not decide.
    score = np.where((agreements >= agreement) & (cosines >= limits.cosine), agreements, 0)
    pairs = [(i, j) for i, j in best_matching(score) if score[i, j] > 0]
    only_first = sorted(set(range(len(children[0]))) - {i for i, _ in pairs})
    only_second = sorted(set(range(len(children[1]))) - {j for _, j in pairs})
    nearest = [match(i, int(agreements[i].argmax())) for i in only_first if children[1]]
    nearest += [match(int(agreements[:, j].argmax()), j) for j in only_second if children[0]]
    sides = (
        ComparedRun(side.run, side.kind, side.cost, found, [found[i].feature for i in only])
        for side, found, only in zip((first, second), children, (only_first, only_second), strict=True)
    )
    return Comparison(
        target=target,
        threshold=threshold,
        tokens_read=len(held_out) * (rows.seq_len - rows.bos),
        tokens_fired=len(a),
        first=next(sides),
        second=next(sides),
        matches=sorted((match(i, j) for i, j in pairs), key=lambda m: -m.agreement),
        nearest=nearest,
    )


def _children(
    lm: LanguageModel,
    narrow: SAE,
    target: int,
    threshold: float,
    side: Side,
    rows: TokenRows,
    tokens: int,
    limits: SplitThresholds,
    on_progress: Progress | None,
) -> list[Child]:
    """The same recall makes a child on both sides: a graft's own are not asked for any otherwise."""
    report = split_report(
        lm,
        side.encoder,
        narrow,
        target,
        threshold,
        rows,
        candidates=side.candidates,
        tokens=tokens,
        limits=limits,
        contexts=4,
        on_progress=on_progress,
    )
    return [child for child in report.children if child.recall >= limits.recall]


@torch.inference_mode()
def _activations(
    lm: LanguageModel,
    narrow: SAE,
    target: int,
    threshold: float,
    sides: Sequence[Side],
    children: Sequence[Sequence[Child]],
    tokens: NDArray[np.integer],
    bos: bool,
) -> list[Tensor]:
    """The children's activations on the target's tokens, ``[n, k]`` of each side."""
    parts: list[list[Tensor]] = [[] for _ in sides]
    for _, _, x in activation_batches(lm, tokens):
        at = narrow.encode_feature(x, target) > threshold
        if bos:
            at[:, 0] = False
        for side, found, kept in zip(sides, children, parts, strict=True):
            f = encode_features(side.encoder, x[at], [child.feature for child in found])
            kept.append(f.double().cpu())
    return [torch.cat(kept) for kept in parts]


def _unit(columns: NDArray[np.floating]) -> NDArray[np.floating]:
    """Columns of norm 1; those of zeros stay."""
    return columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-12)
