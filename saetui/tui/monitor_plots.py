"""Which plots the monitor shows, and how a snapshot becomes their traces."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from saetui.plots.axes import LOG_STEPS, LOG_TOKENS, STEPS, TOKENS, WALL
from saetui.plots.palette import COUNT
from saetui.tui.marks import Marks
from saetui.tui.run_follower import ProbeTrace, Snapshot
from saetui.tui.widgets.plot_model import Trace
from saetui.tui.widgets.series import Series
from saetui.visible import tail, visible

AXES = (TOKENS, STEPS, WALL)
PROBE_AXES = (LOG_TOKENS, LOG_STEPS, WALL)
"""The replacing of a target is over after the first few batches: decades show it, a linear axis cannot."""
SMOOTHING = (0.0, 0.005, 0.02, 0.05)
"""Shares of the run in which the average forgets."""
CHILDREN = 4
"""Features shown beside the target in a replacing plot, at most …"""
FAINTEST = 0.1
"""… and only those with at least this share of the strongest activation."""


@dataclass(frozen=True)
class PlotSpec:
    """One plot: its metrics as (label, name in the snapshot), the first one compared between runs."""

    id: str
    title: str
    metrics: tuple[tuple[str, str], ...]
    zero: bool = False


PLOTS = (
    PlotSpec("loss", "loss", (("loss", "loss"), ("mse", "mse"), ("λ L1", "sparsity"))),
    PlotSpec("l0", "L0", (("L0", "l0"), ("held out", "eval/l0"))),
    PlotSpec("fvu", "FVU", (("FVU", "fvu"), ("held out", "eval/fvu"))),
    PlotSpec("dead", "dead %", (("dead %", "dead"),), zero=True),
    PlotSpec("ce", "CE recovered %", (("CE recovered %", "eval/ce_recovered"),)),
    PlotSpec("speed", "tokens/s", (("tokens/s", "tokens_per_s"),), zero=True),
    PlotSpec("kept", "kept %", (("kept %", "kept"),), zero=True),
)

_ON_HOT_TOKENS = PlotSpec("l0", "children per hot token", (("children per hot token", "l0"),))


def specs(kind: str) -> tuple[PlotSpec, ...]:
    """The plots of a run of this kind. A graft's L0 counts its children on hot tokens: another thing than
    the whole SAE's L0 on held-out ones, and so in a plot without it."""
    return tuple(_ON_HOT_TOKENS if kind == "graft" and spec.id == "l0" else spec for spec in PLOTS)


def traces(spec: PlotSpec, snapshot: Snapshot) -> list[Trace]:
    """The run's lines, each metric in a colour of its own."""
    out: list[Trace] = []
    for colour, (label, name) in enumerate(spec.metrics):
        if series := snapshot.series.get(name):
            held_out = name.startswith("eval/")
            out.append(Trace(label, series, colour, band=colour == 0 and not held_out, smooth=not held_out))
    return out


def compared(name: str, snapshots: Sequence[Snapshot], marks: Marks) -> list[Trace]:
    """One metric of several runs: of each that is marked and has it, in the run's colour; the first one, over
    which the others are laid, with its band."""
    smooth = not name.startswith("eval/")
    out: list[Trace] = []
    for snapshot in snapshots:
        colour = marks.colour(snapshot.run.id)
        if colour is not None and (series := snapshot.series.get(name)):
            band = smooth and snapshot is snapshots[0]
            out.append(Trace(run_label(snapshot.run.id), series, colour, band=band, smooth=smooth))
    return out


def run_label(run: str) -> str:
    """The last part of a run's id: what tells it from others in a legend."""
    return run.rsplit("-", 1)[-1]


def domains(snapshot: Snapshot) -> tuple[tuple[float, float] | None, ...]:
    """How far each axis goes by plan: tokens and steps of the recipe, no plan for time."""
    recipe = snapshot.run.manifest.recipe
    tokens, steps, batch = recipe.get("tokens"), recipe.get("steps"), recipe.get("batch_size")
    if tokens is None and steps and batch:
        tokens = steps * batch
    elif steps is None and tokens and batch:
        steps = tokens / batch
    return ((0.0, float(tokens)) if tokens else None, (0.0, float(steps)) if steps else None, None)


@dataclass
class ProbeColours:
    """Which features a replacing plot shows, and their colours: a feature keeps its own while shown."""

    slots: dict[int, int] = field(default_factory=dict[int, int])

    def choose(self, probe: ProbeTrace, target: int | None) -> list[tuple[int, int]]:
        """(feature, colour) of the strongest features now, the target left out (it has colour 0)."""
        strongest = sorted(probe.now, key=lambda f: -probe.now[f])
        least = FAINTEST * max(probe.now.values(), default=0.0)
        shown = [f for f in strongest if f != target and probe.now[f] >= least][:CHILDREN]
        self.slots = {f: c for f, c in self.slots.items() if f in shown}
        for feature in shown:
            if feature not in self.slots:
                free = [c for c in range(1, COUNT) if c not in self.slots.values()]
                self.slots[feature] = free[0]
        return [(f, self.slots[f]) for f in shown]


def probe_title(probe: ProbeTrace, width: int) -> str:
    """The end of the prompt with its probe token marked: ``…the long«-»``."""
    prompt, token = visible(probe.prompt), visible(probe.token, dots=True)
    bare = visible(probe.token)
    if bare and prompt.endswith(bare):
        prompt = prompt[: -len(bare)]
    return tail(prompt, max(4, width)) + f"«{token}»"


def probe_traces(probe: ProbeTrace, colours: ProbeColours, target: int, init: str) -> list[Trace]:
    """The target's activation and its would-be children's. With a random initialisation no feature of the
    wide SAE is the target's heir, so there is no target line."""
    out: list[Trace] = []
    heir = None if init == "random" else target
    if len(probe.target):
        out.append(Trace("target", probe.target, 0, band=False, smooth=False))
    for feature, colour in colours.choose(probe, heir):
        series: Series = probe.features[feature]
        out.append(Trace(str(feature), series, colour, band=False, smooth=False))
    return out
