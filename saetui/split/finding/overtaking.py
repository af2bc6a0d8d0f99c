"""The replacing of the target: when, and by which feature, it was overtaken on each probe prompt.

The seed saw the target win on its tokens in the first batches, and others take over. This reads it from the
``probes`` that a run records as it trains (``saetui.split.training.trace``): densely at first, then every
fifth more steps. Without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Lead:
    """The strongest feature of a probe token at one record: ``activation`` is its own, ``target`` the
    target's at the same time (None: no feature of the SAE began as the target)."""

    tokens: int
    step: int
    feature: int | None
    """None: nothing fires."""
    activation: float
    target: float | None


@dataclass(frozen=True)
class Overtaking:
    """What happened on one probe prompt.

    ``first``: the first record at which another feature was stronger than the target, and ``for_good``: the
    first from which on one always was; None where the target led to the end, or where there is none.
    ``settled``: the first record from which on the last leader led without interruption. ``changes``: how
    often the lead changed hands.
    """

    prompt: str
    token: str
    start: Lead
    end: Lead
    first: Lead | None
    for_good: Lead | None
    settled: Lead
    changes: int


def overtakings(records: Sequence[dict[str, Any]], target: int | None) -> list[Overtaking]:
    """One per probe prompt of a run's metrics (``metrics.curve`` of them), none where none was recorded.
    ``target``: its index in the wide SAE, None with random initialisation."""
    leads: dict[tuple[str, str], list[Lead]] = {}
    for record in records:
        for probe in record.get("probes") or []:
            feature, activation = probe["top"][0] if probe["top"] else (None, 0.0)
            lead = Lead(record["tokens"], record.get("step", 0), feature, activation, probe["target"])
            leads.setdefault((probe["prompt"], probe["token"]), []).append(lead)
    return [_of(prompt, token, series, target) for (prompt, token), series in leads.items()]


def own_target(kind: str, recipe: dict[str, Any]) -> int | None:
    """The feature of a run's SAE that began as the target; None where there is none."""
    return recipe["target"] if kind == "split" and recipe["init"] != "random" else None


def _of(prompt: str, token: str, series: list[Lead], target: int | None) -> Overtaking:
    def overtaken(lead: Lead) -> bool:
        return target is not None and lead.feature is not None and lead.feature != target

    return Overtaking(
        prompt=prompt,
        token=token,
        start=series[0],
        end=series[-1],
        first=next((lead for lead in series if overtaken(lead)), None),
        for_good=_last_spell(series, overtaken),
        settled=_last_spell(series, lambda lead: lead.feature == series[-1].feature) or series[-1],
        changes=sum(a.feature != b.feature for a, b in pairwise(series)),
    )


def _last_spell(series: list[Lead], holds: Any) -> Lead | None:
    """The first record of the unbroken stretch, up to the end, at which ``holds``; None where it ends
    otherwise."""
    first = None
    for lead in reversed(series):
        if not holds(lead):
            break
        first = lead
    return first
