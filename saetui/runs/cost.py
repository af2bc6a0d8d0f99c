"""What a run cost, from its own records."""

from dataclasses import dataclass
from typing import Any

from saetui.runs.metrics import curve
from saetui.runs.store import Run


@dataclass(frozen=True)
class Cost:
    """``tokens_read`` of the corpus, BOS positions apart, each of which was one forward of the language
    model unless an earlier run's activations were at hand; ``tokens_computed`` of them were not. ``tokens``
    were trained on, some of them more than once. Seconds: ``lm_s`` of reading, forwards and filter, ``sae_s``
    of training steps, both again as CPU time of the run's process, which other work on the machine does not
    lengthen; ``wall_s`` of the processes that had the device, evaluations included. None: the run does not
    say."""

    tokens: int
    tokens_read: int | None
    tokens_computed: int | None
    lm_s: float | None
    sae_s: float | None
    wall_s: float | None
    lm_cpu_s: float | None = None
    sae_cpu_s: float | None = None


def cost(run: Run, records: list[dict[str, Any]] | None = None) -> Cost:
    """Of a run that has ended or goes on; ``records``: its curve, where the caller has it."""
    records = curve(run.read_metrics()) if records is None else records
    events = run.read_events()
    last: dict[str, Any] = {}
    for record in records:
        last |= record
    grafted = next((e for e in reversed(events) if e["kind"] == "grafted"), {})
    last |= {k: grafted[k] for k in ("tokens_read",) if k in grafted}
    if grafted:
        last |= {"lm_s": grafted["gather_seconds"], "sae_s": grafted["seconds"]}
        last |= {"lm_cpu_s": grafted.get("gather_cpu_seconds"), "sae_cpu_s": grafted.get("cpu_seconds")}
    return Cost(
        tokens=last.get("tokens", 0),
        tokens_read=last.get("tokens_read"),
        tokens_computed=last.get("tokens_computed", last.get("tokens_read")),
        lm_s=last.get("lm_s"),
        sae_s=last.get("sae_s"),
        lm_cpu_s=last.get("lm_cpu_s"),
        sae_cpu_s=last.get("sae_cpu_s"),
        wall_s=wall_seconds(events) or None,
    )


def wall_seconds(events: list[dict[str, Any]]) -> float:
    """Seconds in which a process of the run had its device: from each ``running`` to its ``exit``, or to the
    last that was heard of a process that was killed."""
    total, since, latest = 0.0, None, 0.0
    for event in events:
        if event["kind"] in ("launched", "running") and since is not None:
            total += latest - since
            since = None
        if event["kind"] == "running":
            since = event["t"]
        latest = event["t"]
        if event["kind"] == "exit" and since is not None:
            total += event["t"] - since
            since = None
    return total
