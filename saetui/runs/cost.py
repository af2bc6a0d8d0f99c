"""What a run cost, from its own records."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from saetui.runs.metrics import curve
from saetui.runs.store import Run
from saetui.runs.tail import last_records


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
    gpu: bool = False
    """Whether it had one: then CPU time says little."""

    @property
    def clock(self) -> tuple[float | None, float | None]:
        """Seconds of reading, forwards and filter, and of steps: CPU time where it is known and no GPU."""
        if self.gpu or self.lm_cpu_s is None or self.sae_cpu_s is None:
            return self.lm_s, self.sae_s
        return self.lm_cpu_s, self.sae_cpu_s

    @property
    def busy_s(self) -> float | None:
        """Their sum."""
        lm_s, sae_s = self.clock
        return None if lm_s is None or sae_s is None else lm_s + sae_s


def cost(run: Run, records: list[dict[str, Any]] | None = None) -> Cost:
    """Of a run that has ended or goes on; ``records``: its curve, where the caller has it."""
    return cost_of(curve(run.read_metrics()) if records is None else records, run.read_events())


def cost_of(records: Iterable[dict[str, Any]], events: list[dict[str, Any]]) -> Cost:
    """By the ``records`` of a curve, or the first of them, and the run's ``events``."""
    last: dict[str, Any] = {}
    for record in records:
        last |= record
    grafted = next((e for e in reversed(events) if e["kind"] == "grafted"), {})
    if grafted:
        last |= {key: grafted.get(key) for key in ("tokens_read", "tokens_computed")}
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
        gpu="gpu_memory" in last,
        wall_s=wall_seconds(events) or None,
    )


@dataclass(frozen=True)
class Pace:
    """Of a finished wide run of ``d_sae`` features: seconds a token, in steps and beside them (text, filter,
    evaluations)."""

    d_sae: int
    step_s: float
    other_s: float

    def seconds(self, tokens: int, d_sae: int) -> float:
        """What ``tokens`` would take at another width: a step's cost grows with it, the rest does not."""
        return tokens * (self.other_s + self.step_s * d_sae / self.d_sae)


def pace(run: Run) -> Pace | None:
    """Of a finished wide run, by its last records; None where they do not tell."""
    paid = cost_of(curve(last_records(run.metrics_path)), run.read_events())
    if not paid.tokens or not paid.wall_s:
        return None
    step_s = min(paid.sae_s or paid.wall_s, paid.wall_s)
    return Pace(run.manifest.recipe["d_sae"], step_s / paid.tokens, (paid.wall_s - step_s) / paid.tokens)


class DeviceClock:
    """Seconds in which a process of the run had its device, told its events in turn: from each ``running`` to
    its ``exit``, or to the last that was heard of a process that was killed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since: float | None = None
        self._latest = 0.0

    def take(self, event: dict[str, Any]) -> None:
        kind, now = event.get("kind"), event.get("t", self._latest)
        if kind in ("launched", "running") and self._since is not None:
            self.seconds += self._latest - self._since
            self._since = None
        if kind == "running":
            self._since = now
        self._latest = now
        if kind == "exit" and self._since is not None:
            self.seconds += now - self._since
            self._since = None


def wall_seconds(events: list[dict[str, Any]]) -> float:
    """What a ``DeviceClock`` says after ``events``."""
    clock = DeviceClock()
    for event in events:
        clock.take(event)
    return clock.seconds
