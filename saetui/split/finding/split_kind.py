"""In one word, what became of a target: split, or one of the ways in which it was not.

Notation as in ``saetui.split.finding.measures``, whose numbers the word stands on.
"""

from dataclasses import dataclass

import numpy as np

from saetui.split.finding.context_information import context_information
from saetui.split.finding.measures import (
    Observed,
    cosine,
    cosines,
    coverage,
    distinctness,
    duplicates,
    effective_number,
    recall,
    specificity,
)
from saetui.split.finding.report import ContextInformation, SplitKind, SplitThresholds, Spread


@dataclass(frozen=True)
class Summary:
    """The numbers that a verdict stands on, and the verdict. Those of children are None without any."""

    kind: SplitKind
    why: str
    """The rule that gave ``kind``."""
    kept: list[int]
    """Children (positions) that repeat no other one, …"""
    repeated: list[int]
    """… and the others, which count in no number."""
    coverage: Spread
    specificity: Spread | None
    effective: Spread | None
    distinctness: float | None
    context: list[ContextInformation]


def summarise(seen: Observed, limits: SplitThresholds, intervals: bool = True) -> Summary:
    """One word for what was seen, and the numbers beside it."""
    repeated = duplicates(seen, limits)
    kept = [c for c in range(seen.children.shape[1]) if c not in repeated]
    seen = seen.only(kept)
    covered = coverage(seen, intervals)
    if not kept:
        why = "no feature fires where the target does, in its direction, and leads there"
        return Summary("lost", why, kept, repeated, covered, None, None, None, [])
    specific, effective = specificity(seen, intervals), effective_number(seen, intervals)
    apart, context = distinctness(seen), context_information(seen)
    kind, why = _verdict(seen, covered.value, specific.value, effective.value, apart, context, limits)
    return Summary(kind, why, kept, repeated, covered, specific, effective, apart, context)


def _verdict(
    seen: Observed,
    covered: float,
    specific: float,
    effective: float,
    apart: float,
    context: list[ContextInformation],
    limits: SplitThresholds,
) -> tuple[SplitKind, str]:
    """One word, and the rule that gave it; rules are tried in this order."""
    if covered < limits.lost:
        return "lost", f"children fire on {covered:.0%} of the target's tokens"
    by_context = context[0].p_value < limits.p_value
    general = _general_with_a_hole(seen, limits)
    if general is not None and by_context:
        return (
            "absorbed",
            f"one child is the target itself but for the tokens that others took ({general:.0%})",
        )
    highest = float(recall(seen).max())
    if effective < limits.effective:
        if highest > limits.recall_of_one:
            return "unsplit", f"one child has taken the target's place ({highest:.0%} of its tokens)"
        return "partly", f"one child only, on {highest:.0%} of the target's tokens"
    if apart <= limits.distinctness:
        return "unsplit", f"the children all point one way (distinctness {apart:.2f})"
    if not by_context:
        return "unsplit", "which child fires says nothing about the context: a random partition"
    for holds, reason in (
        (covered >= limits.coverage, f"children fire on {covered:.0%} of the target's tokens only"),
        (specific >= limits.specificity, f"{1 - specific:.0%} of the children's activation is elsewhere"),
        (highest <= limits.recall_of_one, f"one child still fires on {highest:.0%} of the target's tokens"),
    ):
        if not holds:
            return "partly", reason
    return "split", f"{effective:.1f} effective children, told apart by the {context[0].neighbour} token"


def _general_with_a_hole(seen: Observed, limits: SplitThresholds) -> float | None:
    """Absorption (after Chanin et al., arXiv 2409.14507): a child with the target's own direction that fires
    on most of its tokens, most of the rest being others' that point elsewhere. Its recall, or None where
    there is none."""
    on, to_target, to_each_other = seen.on, cosine(seen), cosines(seen)
    for c in np.argsort(-recall(seen)).tolist():
        r = float(on[:, c].mean())
        if not limits.general <= r < 0.95 or to_target[c] < limits.copy_cosine:
            continue
        rest = ~on[:, c]
        others = on[:, to_each_other[c] < limits.copy_cosine]
        if others[rest].any(1).mean() > 0.5:
            return r
    return None
