"""The census as rows of a table, and the rank before training with the evidence that says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from saetui.quantities import percent
from saetui.tui.census_taking import Line
from saetui.tui.widgets.table import Column
from saetui.visible import visible

if TYPE_CHECKING:
    from saetui.census.results import Agreement, Evidence, FeatureCensus

_SIDES = {"previous": "‹", "next": "›"}
_STYLES = {"context": "good", "token": "busy", "neither": "idle", "rare": "idle"}


def census_columns() -> list[Column[Line]]:
    """What a graft of every feature came to on held-out text."""
    found, evidence = _of("found"), _of("evidence")
    return [
        Column("feature", lambda line: str(line.feature), 7, lambda line: line.feature, right=True),
        Column("fires on", fires_on, 10, lambda line: line.evidence and line.evidence.commonest, grow=True),
        Column("split by", _split_by, 8, lambda line: (_ORDER[line.found.split_by],) if line.found else None,
               style=lambda line: _STYLES[line.found.split_by] if line.found else ""),
        Column("context", found(_context), 8, _measured(lambda f: f.by_context), right=True),
        Column("p", found(lambda f: f"{f.p_value:.2f}"), 4, _measured(lambda f: f.p_value), right=True),
        Column("token", found(lambda f: f"{f.by_token:.2f}"), 5, _measured(lambda f: f.by_token), right=True),
        Column("k", found(lambda f: str(f.children)), 2, _measured(lambda f: f.children), right=True),
        Column("gain", found(lambda f: f"{f.gain:.0%}"), 5, _measured(lambda f: f.gain), right=True),
        Column("hot", _hot, 7, lambda line: _either(line).density, right=True, drop=1),
        Column("hold", found(lambda f: str(f.holding)), 4, _measured(lambda f: f.holding),
               right=True, drop=3),
        Column("effective", found(lambda f: f"{f.effective:.1f}"), 9, _measured(lambda f: f.effective),
               right=True, drop=2),
        Column("margin", found(lambda f: f"{f.margin:.2f}"), 6, _measured(lambda f: f.margin),
               right=True, drop=5),
        Column("before", lambda line: "" if line.place is None else str(line.place), 6,
               lambda line: line.place, right=True, drop=4),
        Column("told before", evidence(_told), 11, lambda line: line.evidence and line.evidence.context_share,
               right=True, drop=6),
    ]  # fmt: skip


def rank_columns() -> list[Column[Line]]:
    """Which feature to split next, with what its tokens say; and, where it was measured, what came of it."""
    evidence = _of("evidence")

    def number(value: Callable[[Evidence], Any]) -> Callable[[Line], Any]:
        return lambda line: value(line.evidence) if line.evidence else None

    return [
        Column("rank", lambda line: "" if line.place is None else str(line.place), 4,
               lambda line: line.place, right=True),
        Column("feature", lambda line: str(line.feature), 7, lambda line: line.feature, right=True),
        Column("told by context", evidence(_told), 15, number(lambda e: e.context_share), right=True),
        Column("fires on", fires_on, 10, number(lambda e: e.commonest), grow=True),
        Column("unexplained", evidence(lambda e: f"{e.unexplained:.0%}"), 11,
               number(lambda e: e.unexplained), right=True, drop=2),
        Column("hot", _hot, 7, lambda line: _either(line).density, right=True, drop=1),
        Column("nearest", evidence(lambda e: f"{e.nearest} at {e.nearest_cosine:.2f}"), 12,
               number(lambda e: (e.nearest_cosine,)), right=True, drop=3),
        Column("bimodality", evidence(lambda e: f"{e.bimodality:.2f}"), 10,
               number(lambda e: e.bimodality), right=True, drop=5),
        Column("came of it", _outcome, 14, _measured(lambda f: f.by_context), drop=4),
    ]  # fmt: skip


def reasons(line: Line) -> str:
    """Why it stands where it stands, in words."""
    one, found = line.evidence, line.found
    parts: list[str] = []
    if one:
        parts += [
            f"where the token is the same, {one.context_share:.0%} of what is left unexplained on its tokens "
            f"depends on the {one.side} token",
            f"fires on «{visible(one.commonest, dots=True)}» in {one.commonest_share:.0%}",
            f"nearest feature {one.nearest} at cosine {one.nearest_cosine:.2f}",
        ]
    else:
        parts.append("too rare to be ranked")
    if known := _either(line):
        parts.append(f"hot: above {known.threshold:.2g}")
    if found and found.children:
        explained = ", ".join(f"{share:.0%}" for share in found.explained)
        parts.append(f"explained by more children: {explained}")
    return " · ".join(parts)


def agreement_line(agreement: Sequence[Agreement]) -> str:
    """How well the rank before training predicted the census."""
    if not agreement:
        return ""
    rank = agreement[0]
    hits = ", ".join(f"{one.found} of {one.at}" for one in rank.precision)
    return (
        f"the rank before against the census: Spearman {rank.rho:.2f} ({rank.low:.2f} … {rank.high:.2f}); "
        f"hits {hits}"
    )


def fires_on(line: Line) -> str:
    """Its commonest token and that one's share."""
    if line.evidence is None:
        return ""
    return f"«{visible(line.evidence.commonest, dots=True)}» {line.evidence.commonest_share:.0%}"


_ORDER = {"context": 0, "token": 1, "neither": 2, "rare": 3}


def _of(part: str) -> Callable[[Callable[[Any], str]], Callable[[Line], str]]:
    """Cells of what was measured, or of the evidence; empty where there is none."""

    def cell(text: Callable[[Any], str]) -> Callable[[Line], str]:
        def of(line: Line) -> str:
            known = getattr(line, part)
            return "" if known is None or (part == "found" and not known.children) else text(known)

        return of

    return cell


def _measured(value: Callable[[FeatureCensus], Any]) -> Callable[[Line], Any]:
    """To sort by; a rare feature was not measured."""
    return lambda line: value(line.found) if line.found and line.found.children else None


def _either(line: Line) -> Any:
    return line.found or line.evidence


def _hot(line: Line) -> str:
    return percent(_either(line).density, 3)


def _context(found: FeatureCensus) -> str:
    return f"{found.by_context:.2f} {_SIDES[found.side] if found.by_context else ' '}"


def _told(one: Evidence) -> str:
    return f"{one.context_share:.1%} {_SIDES[one.side]}"


def _split_by(line: Line) -> str:
    return line.found.split_by if line.found else ""


def _outcome(line: Line) -> str:
    if line.found is None or not line.found.children:
        return _split_by(line)
    return f"{line.found.split_by}, k {line.found.children}"
