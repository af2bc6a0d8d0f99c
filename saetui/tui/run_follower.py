"""One run as its files tell it: metrics as series that plots can draw, probes, events, where it stands.

No Textual: the monitor's thread polls a follower and hands its frozen snapshots to the screen.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

from saetui.errors import UserError
from saetui.runs.cost import DeviceClock
from saetui.runs.status import RunStatus, status
from saetui.runs.store import Run
from saetui.runs.tail import Tail
from saetui.split.finding.overtaking import own_target
from saetui.tui.widgets.series import Series

PERCENT = ("dead", "kept", "ce_recovered")
"""Metrics that are shares of one, kept here in percent."""
_NOT_METRICS = frozenset(("v", "i", "t", "tokens", "step", "eval", "kind", "probes"))
EVENTS = 200
"""Events kept, the latest."""


@dataclass(frozen=True)
class ProbeTrace:
    """A probe prompt through the training: the target's activation at its token and the strongest others'.

    A feature that is not among the strongest at a record has a gap there."""

    prompt: str
    token: str
    target: Series
    features: dict[int, Series]
    now: dict[int, float]
    """The latest record's strongest features with their activations."""
    leader: Series = field(default_factory=Series)
    """The strongest feature's activation, the target's own apart: that of its would-be child."""


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment. Series that have not changed since the last snapshot are the same objects."""

    run: Run
    status: RunStatus
    series: Mapping[str, Series] = field(default_factory=dict[str, Series])
    """By metric, those of evaluations as ``eval/…``; ``sparsity`` is the loss without its MSE, that is, the
    weighted L1 term. Their x is (tokens, steps, seconds since the start)."""
    latest: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The newest value of every field of a metrics record."""
    probes: tuple[ProbeTrace, ...] = ()
    events: tuple[dict[str, Any], ...] = ()
    wall_s: float = 0.0
    """Seconds in which its processes that have ended had their device."""
    corrupt: int = 0
    """Damaged lines in its files."""


class RunFollower:
    """Reads what a run's files have gained since the last :meth:`poll`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._own_target: int | None = None
        self._reset()
        self.snapshot: Snapshot | None = None

    def _reset(self) -> None:
        self._metrics = Tail(self.run.metrics_path)
        self._events_tail = Tail(self.run.events_path)
        self._series: dict[str, Series] = {}
        self._frozen: dict[str, Series] = {}
        self._changed: set[str] = set()
        self._latest: dict[str, Any] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self._clock = DeviceClock()
        self._probes: dict[tuple[str, str], ProbeTrace] = {}
        self._frozen_probes: tuple[ProbeTrace, ...] = ()
        self._probes_changed = False
        self._start: float | None = None

    def poll(self) -> bool:
        """Looks again; True where :attr:`snapshot` is a new one. UserError for a damaged manifest or where
        the run has been deleted, OSError for a file system that is gone."""
        if self.snapshot and not self.run.folder.exists():
            raise UserError(f"{self.run.id} has been deleted")
        stand = status(self.run)
        manifest = self.run.manifest
        self._own_target = own_target(manifest.kind, manifest.recipe)
        records, events = self._metrics.poll(), self._events_tail.poll()
        if self._metrics.restarts or self._events_tail.restarts:
            self._reset()
            records, events = self._metrics.poll(), self._events_tail.poll()
        self._events.extend(events)
        for event in events:
            self._clock.take(event)
        for record in records:
            self._take(record)
        before = self.snapshot
        if (
            before
            and not records
            and not events
            and replace(stand, age_s=before.status.age_s) == before.status
        ):
            return False
        for name in self._changed:
            self._frozen[name] = self._series[name].copy()
        self._changed.clear()
        if self._probes_changed:
            self._frozen_probes = tuple(_freeze(probe) for probe in self._probes.values())
            self._probes_changed = False
        self.snapshot = Snapshot(
            self.run,
            stand,
            dict(self._frozen),
            dict(self._latest),
            self._frozen_probes,
            tuple(self._events),
            self._clock.seconds,
            self._metrics.corrupt + self._events_tail.corrupt,
        )
        return True

    def _take(self, record: dict[str, Any]) -> None:
        if record.get("kind") == "resumed":
            self._rewind(record.get("tokens", 0))
            return
        if self._start is None:
            self._start = record.get("t", 0.0)
        tokens, step = _number(record.get("tokens")), _number(record.get("step"))
        x = (
            step or 0.0 if tokens is None else tokens,
            tokens or 0.0 if step is None else step,
            record.get("t", 0.0) - self._start,
        )
        loss, mse = _number(record.get("loss")), _number(record.get("mse"))
        if loss is not None and mse is not None:
            record = {**record, "sparsity": loss - mse}
        if children := record.get("children"):
            f1 = {f"f1 {child['child']}": child["f1"] for child in children}
            record = {**record, **f1, "mean_f1": mean(f1.values())}
        prefix = "eval/" if record.get("eval") else ""
        for name, value in record.items():
            if name in _NOT_METRICS or not isinstance(value, (int, float, type(None))):
                continue
            number = math.nan if value is None else float(value)
            key = prefix + name
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = Series()
            series.append(x, number * 100 if name in PERCENT else number)
            self._changed.add(key)
            self._latest[key] = value
        for name in ("tokens", "step", "t"):
            if record.get(name) is not None:
                self._latest[name] = record[name]
        for probe in record.get("probes") or ():
            self._take_probe(x, probe)

    def _take_probe(self, x: tuple[float, ...], probe: dict[str, Any]) -> None:
        self._probes_changed = True
        key = (str(probe.get("prompt", "")), str(probe.get("token", "")))
        trace = self._probes.get(key)
        if trace is None:
            trace = self._probes[key] = ProbeTrace(*key, Series(), {}, {})
        if (target := probe.get("target")) is not None:
            trace.target.append(x, float(target))
        trace.now.clear()
        top = probe.get("top") or ()
        trace.leader.append(
            x, max((float(a) for feature, a in top if feature != self._own_target), default=0.0)
        )
        for feature, activation in top:
            trace.now[int(feature)] = float(activation)
            trace.features.setdefault(int(feature), Series()).append(x, float(activation))
        for feature, series in trace.features.items():
            if feature not in trace.now:
                series.gap(x)

    def _rewind(self, tokens: float) -> None:
        """A resumed run repeats what it had reported beyond its checkpoint."""
        for name, series in self._series.items():
            series.rewind(tokens)
            self._changed.add(name)
        self._probes_changed = True
        for probe in self._probes.values():
            for series in (probe.target, probe.leader, *probe.features.values()):
                series.rewind(tokens)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _freeze(probe: ProbeTrace) -> ProbeTrace:
    features = {feature: series.copy() for feature, series in probe.features.items()}
    return replace(
        probe,
        target=probe.target.copy(),
        features=features,
        now=dict(probe.now),
        leader=probe.leader.copy(),
    )
