"""Which curves of several runs can be laid over one another, and how their snapshots become traces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saetui.plots.axes import Axis
from saetui.tui.marks import Marks
from saetui.tui.monitor_plots import AXES, PROBE_AXES, domains, probe_title, run_label
from saetui.tui.run_follower import ProbeTrace, Snapshot
from saetui.tui.widgets.plot_model import Trace
from saetui.tui.widgets.series import Series

TITLE_WIDTH = 24
"""Cells of a prompt in a curve's name."""


@dataclass(frozen=True)
class Curve:
    """One thing that runs report, of which each has a line."""

    name: str
    series: Callable[[Snapshot], Series | None]
    axes: tuple[Axis, ...] = AXES
    zero: bool = False
    smooth: bool = True
    """Whether smoothing applies: not to a few evaluations."""


_ALWAYS = (
    ("loss", "loss", False),
    ("L0", "l0", False),
    ("FVU", "fvu", False),
    ("L0 held out", "eval/l0", False),
    ("FVU held out", "eval/fvu", False),
    ("CE recovered %", "eval/ce_recovered", False),
    ("dead %", "dead", True),
    ("tokens/s", "tokens_per_s", True),
    ("child F1", "eval/mean_f1", True),
)
_F1 = "eval/f1 "


def curves(snapshots: Sequence[Snapshot]) -> list[Curve]:
    """Of which at least one run has a record: metrics, the F1 of each expected child, and on each probe
    prompt the activation of the strongest feature that is not the target."""
    names = dict.fromkeys(name for snapshot in snapshots for name in snapshot.series)
    metrics = [(title, name, zero) for title, name, zero in _ALWAYS if name in names]
    metrics += [(f"F1 {name.removeprefix(_F1)}", name, True) for name in names if name.startswith(_F1)]
    found = [
        Curve(title, lambda s, name=name: s.series.get(name), zero=zero, smooth=not name.startswith("eval/"))
        for title, name, zero in metrics
    ]
    probes: dict[tuple[str, str], ProbeTrace] = {}
    for snapshot in snapshots:
        for probe in snapshot.probes:
            probes.setdefault((probe.prompt, probe.token), probe)
    return found + [
        Curve(
            f"child on {probe_title(probe, TITLE_WIDTH)}",
            lambda s, key=key: _leader(s, key),
            axes=PROBE_AXES,
            zero=True,
            smooth=False,
        )
        for key, probe in probes.items()
    ]


def traces(curve: Curve, snapshots: Sequence[Snapshot], marks: Marks) -> list[Trace]:
    """A line for each marked run that reports it, in the run's own colour."""
    out: list[Trace] = []
    for snapshot in snapshots:
        series, colour = curve.series(snapshot), marks.colour(snapshot.run.id)
        if series is not None and colour is not None:
            band = len(snapshots) == 1
            out.append(Trace(run_label(snapshot.run.id), series, colour, band=band, smooth=curve.smooth))
    return out


def plan(snapshots: Sequence[Snapshot]) -> tuple[tuple[float, float] | None, ...]:
    """How far each axis goes: as far as the run that is to go furthest."""
    each = [domains(snapshot) for snapshot in snapshots]
    ends = zip(*each, strict=True) if each else [(None,)] * len(AXES)
    return tuple(
        (0.0, max(domain[1] for domain in known)) if (known := [d for d in axis if d]) else None
        for axis in ends
    )


def _leader(snapshot: Snapshot, key: tuple[str, str]) -> Series | None:
    probe = next((p for p in snapshot.probes if (p.prompt, p.token) == key), None)
    return probe.leader if probe else None
