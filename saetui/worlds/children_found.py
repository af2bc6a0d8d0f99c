"""The children finder held against the known splits: verdicts, and precision and recall of the children."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saetui import embedded
from saetui.corpus.grammar import SyntheticRows
from saetui.features.stored_lm import reading_stored
from saetui.features.top_tokens import read_tokens
from saetui.lm.base import LanguageModel
from saetui.split.finding.children import split_report
from saetui.split.finding.report import SplitReport, SplitThresholds
from saetui.worlds.fitted import EACH, Context, Labelled, fitted_target, the_world
from saetui.worlds.known_splits import Case

TOKENS = 60_000
PURE = 0.7
"""A child stands for a context with at least this share of its activation there, …"""
COVERED = 0.5
"""… and a context is found where right children fire on at least this share of its hyphens in the target."""

CLAIMED = ("split", "partly", "absorbed")
"""Verdicts that say there are children: *unsplit* and *lost* list what they rest on, and claim none."""


@dataclass(frozen=True)
class Result:
    """``found``: children that the report claims; ``right``: those that stand for one known context;
    ``known``: contexts that have a child in truth; ``recalled``: those that right children cover."""

    case: str
    group: str
    expected: tuple[str, ...]
    kind: str
    why: str
    found: int
    right: int
    known: int
    recalled: int
    numbers: dict[str, float | None] = field(default_factory=dict[str, float | None])

    @property
    def verdict_right(self) -> bool:
        return self.kind in self.expected


def judge_cases(
    cases: Sequence[Case], tokens: int = TOKENS, limits: SplitThresholds | None = None
) -> list[Result]:
    """Every case through ``split_report`` on unfiltered held-out rows, as any run goes through it."""
    world, rows = the_world(), SyntheticRows("eval")
    with torch.inference_mode(), reading_stored(world.lm, rows, tokens) as lm:
        held_out = read_tokens(rows, tokens)
        half = len(held_out) // 2
        of = Labelled.read(rows, half, len(held_out) - half)
        x = torch.cat([lm.activations(part) for part in _batches(held_out[half:])])
        return [_judge(case, lm, rows, of, x, tokens, limits or SplitThresholds()) for case in cases]


def _batches(tokens: NDArray[np.integer]) -> Sequence[Tensor]:
    return torch.from_numpy(tokens.astype(np.int64)).split(128)


def _judge(
    case: Case,
    lm: LanguageModel,
    rows: SyntheticRows,
    of: Labelled,
    x: Tensor,
    tokens: int,
    limits: SplitThresholds,
) -> Result:
    dictionary, world = case.make(), the_world()
    narrow, target, threshold = fitted_target(), 0, 0.0
    if case.shipped:
        about = embedded.world("synthetic")
        narrow, target, threshold = world.narrow, about.target, about.threshold
    report = split_report(
        lm,
        dictionary,
        narrow,
        target,
        threshold,
        rows,
        candidates=getattr(dictionary, "children", None) if case.named else None,
        tokens=tokens,
        limits=limits,
        contexts=1,
    )
    hot = (narrow.encode_feature(x, target) > threshold)[:, 1:].numpy()
    f = dictionary.encode(x)[:, 1:].numpy()
    known = case.known if case.known is not None else _known(f, of, hot)
    claimed = [c.feature for c in report.children] if report.kind in CLAIMED else []
    stands_for = {feature: _stands_for(f[..., feature], of, known) for feature in claimed}
    recalled = sum(
        _covers(f, [feature for feature, its in stands_for.items() if its is context], context, of, hot)
        for context in known
    )
    return Result(
        case=case.name,
        group=case.group,
        expected=case.expected,
        kind=report.kind,
        why=report.why,
        found=len(claimed),
        right=sum(context is not None for context in stands_for.values()),
        known=len(known),
        recalled=recalled,
        numbers=_numbers(report),
    )


def _stands_for(f: NDArray[np.floating], of: Labelled, known: Sequence[Context]) -> Context | None:
    """The narrowest of the known contexts that has ``PURE`` of a feature's activation ``f [rows, seq]``."""
    total = float(f.sum())
    within = [context for context in known if total and f[context.holds(of)].sum() / total >= PURE]
    return min(within, key=lambda context: int(context.holds(of).sum()), default=None)


def _covers(
    f: NDArray[np.floating], features: list[int], context: Context, of: Labelled, hot: NDArray[np.bool_]
) -> bool:
    at = context.holds(of) & hot
    return bool(features) and bool(at.any()) and float((f[at][:, features] > 0).any(1).mean()) >= COVERED


def _known(f: NDArray[np.floating], of: Labelled, hot: NDArray[np.bool_]) -> tuple[Context, ...]:
    """Of a trained dictionary, activations ``f [rows, seq, d_sae]``, the classes that features of it lead on:
    what is there to be found, whatever a report says."""
    leading = np.where(f == f.max(-1, keepdims=True), f, 0)
    classes = tuple(Context((c,)) for c in EACH)
    stands_for = [_stands_for(f[..., feature], of, classes) for feature in range(f.shape[-1])]
    return tuple(
        context
        for context in classes
        if _covers(leading, [i for i, its in enumerate(stands_for) if its is context], context, of, hot)
    )


def _numbers(report: SplitReport) -> dict[str, float | None]:
    context = report.context[0] if report.context else None
    return {
        "children": len(report.children),
        "coverage": report.coverage.value,
        "specificity": report.specificity.value if report.specificity else None,
        "effective": report.effective.value if report.effective else None,
        "margin": report.margin.value if report.margin else None,
        "overlap": report.overlap,
        "distinctness": report.distinctness,
        "context": context.share if context else None,
        "p": context.p_value if context else None,
        "highest recall": max((child.recall for child in report.children), default=None),
    }


@dataclass(frozen=True)
class Scores:
    """Over cases: verdicts that are right; precision and recall of the children, pooled."""

    cases: int
    verdicts: int
    found: int
    right: int
    known: int
    recalled: int

    @classmethod
    def of(cls, results: Sequence[Result]) -> "Scores":
        return cls(
            len(results),
            sum(one.verdict_right for one in results),
            *(sum(getattr(one, key) for one in results) for key in ("found", "right", "known", "recalled")),
        )

    @property
    def precision(self) -> float | None:
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        return self.recalled / self.known if self.known else None
