"""Which children two runs share: a graft and a wide SAE, or any two runs that split the same target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from saetui.corpus.rows import TokenRows
from saetui.errors import UsageError
from saetui.features.encoder import encoder_hash
from saetui.features.results import Child
from saetui.features.top_tokens import Progress
from saetui.lm.base import LanguageModel
from saetui.loading import load_lm, load_sae, open_rows
from saetui.runs.cost import Cost, cost
from saetui.runs.store import Run
from saetui.sae.sae import SAE
from saetui.split.comparison import ComparedRun, Comparison, Match
from saetui.split.finding.children import seen_children
from saetui.split.finding.matching import best_matching
from saetui.split.finding.report import SplitThresholds
from saetui.split.grafting.graft import Graft
from saetui.split.outcome import open_outcome, setup_of

DEFAULT_TOKENS = 100_000
AGREEMENT = 0.5
"""Two children of this agreement, and of the cosine that makes a child, count as one. Ours."""


@dataclass(frozen=True)
class Side:
    """A dictionary with the children of the target in it; for a graft they are known, None: to be found."""

    encoder: SAE | Graft
    candidates: Sequence[int] | None
    run: str
    kind: str
    cost: Cost
    target: int
    threshold: float

    def to(self, device: torch.device) -> "Side":
        return replace(self, encoder=self.encoder.to(device))


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
    sides = [side_of(run) for run in (first, second)]
    targets = [side.target for side in sides]
    if targets[0] != targets[1]:
        raise UsageError(
            f"{first.id} split feature {targets[0]} and {second.id} feature {targets[1]}: "
            "only runs of one target compare"
        )
    setup = setup_of(first)
    lm = lm or load_lm(setup)
    narrow, other = (
        side.encoder.narrow if isinstance(side.encoder, Graft) else load_sae(setup_of(run))
        for run, side in zip((first, second), sides, strict=True)
    )
    if encoder_hash(narrow) != encoder_hash(other):
        raise UsageError(f"{first.id} and {second.id} split different narrow SAEs: their targets are not one")
    return compare(
        lm,
        narrow.to(lm.device),
        sides[0].to(lm.device),
        sides[1].to(lm.device),
        open_rows(setup, lm.tokenizer, "eval"),
        tokens=tokens,
        limits=limits,
        agreement=agreement,
        on_progress=on_progress,
    )


def side_of(run: Run) -> Side:
    """What a finished run ended with. UserError where it has not ended with anything yet."""
    outcome = open_outcome(run)
    return Side(
        outcome.encoder,
        outcome.children,
        run.id,
        run.manifest.kind,
        cost(run),
        outcome.target,
        outcome.threshold,
    )


def compare(
    lm: LanguageModel,
    narrow: SAE,
    first: Side,
    second: Side,
    rows: TokenRows,
    *,
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    agreement: float = AGREEMENT,
    on_progress: Progress | None = None,
) -> Comparison:
    """Finds the children of each side (``find_children``), at the higher of their thresholds, and matches
    them (``match_children``)."""
    threshold = max(first.threshold, second.threshold)
    found = [
        find_children(
            lm, narrow, side, threshold, rows, tokens=tokens, limits=limits, on_progress=on_progress
        )
        for side in (first, second)
    ]
    return match_children(*found, limits=limits, agreement=agreement)


@dataclass(frozen=True)
class FoundChildren:
    """A side's ``k`` children, and what they do on the n tokens of the target in the second half of the
    held-out rows, on which no children were chosen."""

    side: Side
    target: int
    threshold: float
    children: list[Child]
    activations: NDArray[np.floating]
    """``[n, k]``, columns of norm 1."""
    directions: NDArray[np.floating]
    """Decoder rows as columns of norm 1, ``[d_in, k]``."""
    tokens_read: int
    """Of which the n are the target's."""


def find_children(
    lm: LanguageModel,
    narrow: SAE,
    side: Side,
    threshold: float,
    rows: TokenRows,
    *,
    tokens: int = DEFAULT_TOKENS,
    limits: SplitThresholds | None = None,
    on_progress: Progress | None = None,
) -> FoundChildren:
    """The children of ``side`` as ``split_report`` finds them, with their activations where its target fires
    above ``threshold`` in ``narrow``: only there, because a graft's are silent elsewhere by construction."""
    limits = limits or SplitThresholds()
    seen = seen_children(
        lm,
        side.encoder,
        narrow,
        side.target,
        threshold,
        rows,
        candidates=side.candidates,
        tokens=tokens,
        limits=limits,
        contexts=4,
        on_progress=on_progress,
    )
    # The same recall makes a child on both sides: a graft's own are not asked for any otherwise.
    at = [c for c, child in enumerate(seen.children) if child.recall >= limits.recall]
    children = [seen.children[c] for c in at]
    features = [child.feature for child in children]
    return FoundChildren(
        side=side,
        target=side.target,
        threshold=threshold,
        children=children,
        activations=_unit(seen.activations[:, at]),
        directions=_unit(side.encoder.W_dec[features].double().cpu().numpy().T),
        tokens_read=seen.tokens_read,
    )


def match_children(
    first: FoundChildren,
    second: FoundChildren,
    *,
    limits: SplitThresholds | None = None,
    agreement: float = AGREEMENT,
) -> Comparison:
    """Which children of one are which of the other, one to one (``Comparison``). Both are of one target and
    threshold, and were found on the same rows."""
    limits = limits or SplitThresholds()
    agreements = first.activations.T @ second.activations
    cosines = first.directions.T @ second.directions

    def match(i: int, j: int) -> Match:
        one, other = first.children[i].feature, second.children[j].feature
        return Match(one, other, float(cosines[i, j]), float(agreements[i, j]))

    # Pairs that are not alike count nothing: the sum of many small agreements must not decide.
    score = np.where((agreements >= agreement) & (cosines >= limits.cosine), agreements, 0)
    pairs = [(i, j) for i, j in best_matching(score) if score[i, j] > 0]
    only_first = sorted(set(range(len(first.children))) - {i for i, _ in pairs})
    only_second = sorted(set(range(len(second.children))) - {j for _, j in pairs})
    nearest = [match(i, int(agreements[i].argmax())) for i in only_first if second.children]
    nearest += [match(int(agreements[:, j].argmax()), j) for j in only_second if first.children]
    sides = (
        ComparedRun(
            found.side.run,
            found.side.kind,
            found.side.cost,
            found.children,
            [found.children[i].feature for i in only],
        )
        for found, only in ((first, only_first), (second, only_second))
    )
    return Comparison(
        target=first.target,
        threshold=first.threshold,
        tokens_read=first.tokens_read,
        tokens_fired=len(first.activations),
        first=next(sides),
        second=next(sides),
        matches=sorted((match(i, j) for i, j in pairs), key=lambda m: -m.agreement),
        nearest=nearest,
    )


def _unit(columns: NDArray[np.floating]) -> NDArray[np.floating]:
    """Columns of norm 1; those of zeros stay."""
    return columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-12)
