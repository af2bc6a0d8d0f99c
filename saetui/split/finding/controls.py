"""Control features: did the target split more than features of like density did, in the same dictionary?

A wide SAE has thousands of chances to look like children of anything. Other features of the narrow SAE, which
nobody meant to split, go through the same choosing and scoring; what they get is what a target gets for
nothing.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from saetui.features.top_tokens import activation_batches
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.split.finding.candidates import Parent
from saetui.split.finding.measures import Observed
from saetui.split.finding.report import Control, SplitThresholds
from saetui.split.finding.split_kind import summarise

_TOKENS = 20_000
"""Tokens from which densities are taken."""
_LIKE = 4.0
"""Densities within this factor are alike."""


def control_parents(
    lm: LanguageModel, narrow: SAE, target: Parent, tokens: NDArray[np.integer], bos: bool, count: int
) -> list[Parent]:
    """``count`` features other than the target that are above its threshold about as often as it is, nearest
    density (by ratio) first; fewer where there are not so many."""
    if not count:
        return []
    rows = max(1, _TOKENS // tokens.shape[1])
    fired = torch.zeros(narrow.d_sae, dtype=torch.int64)
    for _, _, x in activation_batches(lm, tokens[:rows]):
        hot = narrow.encode(x) > target.threshold
        fired += hot[:, int(bos) :].flatten(0, 1).sum(0).cpu()
    log = fired.double().log()  # -inf for one that never fires: like nothing
    unlike = (log - log[target.feature]).abs()
    order = [f for f in unlike.argsort(stable=True).tolist() if f != target.feature]
    return [Parent(f, target.threshold) for f in order if unlike[f] <= math.log(_LIKE)][:count]


def controls(
    parents: Sequence[Parent], observed: Sequence[Observed], limits: SplitThresholds
) -> list[Control]:
    """What became of every control that fires on the rows that score."""
    return [
        _control(parent, seen, limits)
        for parent, seen in zip(parents, observed, strict=True)
        if len(seen.parent)
    ]


def _control(parent: Parent, seen: Observed, limits: SplitThresholds) -> Control:
    summary = summarise(seen, limits, intervals=False)
    return Control(
        feature=parent.feature,
        tokens_fired=len(seen.parent),
        kind=summary.kind,
        children=len(summary.kept),
        effective=summary.effective.value if summary.effective else 0.0,
        coverage=summary.coverage.value,
    )
