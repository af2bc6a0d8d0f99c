"""Two runs of one target to read: what each cost, what is said of a child. Without torch."""

from saetui.features.results import Child
from saetui.quantities import duration, si
from saetui.split.comparison import ComparedRun, Comparison
from saetui.visible import visible

COST_NOTE = "wall: the whole run, evaluations too; CPU: reading, forwards and steps alone"


def target_line(found: Comparison) -> str:
    """What was compared on which tokens."""
    return (
        f"feature {found.target} above {found.threshold:g}: {found.tokens_fired:,} of {found.tokens_read:,} "
        "held-out tokens"
    )


def cost_lines(found: Comparison) -> list[str]:
    """A table of what the two runs cost; ``wall``: time that passed, ``CPU``: time of the process."""
    width = max(len(side.run) for side in (found.first, found.second))
    head = f"{'':{width + 9}}{'children':>8} {'read':>7} {'trained':>7} {'wall':>7} {'CPU':>7}"
    return [head, *(_cost(side, width) for side in (found.first, found.second))]


def _cost(side: ComparedRun, width: int) -> str:
    cost = side.cost
    read = "" if cost.tokens_read is None else si(cost.tokens_read)
    cpu = None if cost.lm_cpu_s is None or cost.sae_cpu_s is None else cost.lm_cpu_s + cost.sae_cpu_s
    wall, cpu_time = ("" if seconds is None else duration(seconds) for seconds in (cost.wall_s, cpu))
    return (
        f"{side.run:<{width}}  {side.kind:<7}{len(side.children):>8} {read:>7} {si(cost.tokens):>7} "
        f"{wall:>7} {cpu_time:>7}"
    )


def boosted(child: Child) -> str:
    """The tokens that it boosts most."""
    return "  ".join(visible(logit.token, dots=True) for logit in child.boosted[:6])
