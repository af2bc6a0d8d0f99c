"""Why a feature was found, in a few words."""

from saetui.features.results import Found
from saetui.visible import visible


def why(found: Found) -> str:
    """``fires on - ·-: 61 of 64 top tokens``, ``boosts ·day: 2nd, +3.10``."""
    if found.by == "number":
        return "by its number"
    tokens = " ".join(visible(token, dots=True) for token in found.tokens)
    if found.by == "token":
        return f"fires on {tokens}: {found.count} of {found.of} top tokens"
    return f"boosts {tokens}: {found.rank}{_ordinal(found.rank or 0)}, {found.logit:+.2f}"


def _ordinal(n: int) -> str:
    if n % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
