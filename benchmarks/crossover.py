"""Up to which share of active features the sparse path of a training step costs less than the dense one.

Steps of both kinds, by torch's operators and by compiled loops, with and without the 8-bit screen, take turns
in one process on one thread; what is compared are medians of CPU seconds. Where a sparse way overtakes the
dense one is interpolated between the two shares around it. The constants that training goes by are those of
``saetui.split.training.sparse.SparseOperators.crossover`` and ``screen_below``.

    python -m benchmarks.crossover [--size embedded|gelu-1l] [--rounds 3]
"""

import argparse
import statistics
import sys
import time
from typing import Any

import torch

from benchmarks import _results
from benchmarks.train_step import L1, with_l0
from saetui.sae.sae import SAE
from saetui.split.recipe import Dtype, SplitRecipe
from saetui.split.training import sparse
from saetui.split.training.init import initial_sae
from saetui.split.training.sparse import SparseEngine, sparse_operators
from saetui.split.training.step import TrainStep

SIZES = {"embedded": (256, 1024, 1024), "gelu-1l": (512, 4096, 1024)}
"""``d_in, d_sae, batch``."""
SHARES = (0.005, 0.01, 0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
DENSE: tuple[Dtype, ...] = ("float32", "bfloat16")
ENGINES = {
    "torch": SparseEngine(),
    "torch, screened": SparseEngine(screened=True),
    "compiled": SparseEngine(compiled=True),
    "compiled, screened": SparseEngine(screened=True, compiled=True),
}


def cpu_ms(size: str, rounds: int) -> dict[float, dict[str, float]]:
    """Of one step's gradients, by share and way."""
    d_in, d_sae, batch = SIZES[size]
    x = torch.randn(batch, d_in, generator=torch.Generator().manual_seed(0)) * 0.5
    sae = initial_sae(SplitRecipe(init="random", d_sae=d_sae), d_in)
    dense = {dtype: TrainStep(sae, batch_size=batch, dtype=dtype) for dtype in DENSE}
    found: dict[float, dict[str, float]] = {}
    print(f"{size}: {d_in} → {d_sae}, batch {batch}: CPU ms of a step's gradients")
    print(f"  {'active':>8}" + "".join(f"{name:>20}" for name in (*DENSE, *ENGINES)))
    for share in SHARES:
        steps = dense | sparse_steps(with_l0(sae, x, round(share * d_sae)), batch)
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(rounds + 1):
            for name, step in steps.items():
                step.sparse, step.share = name in ENGINES, 0.0  # so that a screen is used
                used = time.process_time()
                step.gradients(x, x, L1)
                if number:  # the first round warms up
                    taken[name].append(1000 * (time.process_time() - used))
        found[share] = {name: statistics.median(times) for name, times in taken.items()}
        print(f"  {share:8.1%}" + "".join(f"{ms:20.1f}" for ms in found[share].values()), flush=True)
    return found


def sparse_steps(sae: SAE, batch: int) -> dict[str, TrainStep]:
    return {
        name: TrainStep(sae, batch_size=batch, operators=sparse_operators(engine))
        for name, engine in ENGINES.items()
    }


def crossing(found: dict[float, dict[str, float]], way: str, other: str) -> float | None:
    """The share from which on ``way`` costs more than ``other``; None where it costs less at all of them."""
    before = 0.0, 0.0
    for share, ms in found.items():
        excess = ms[way] / ms[other] - 1
        if excess > 0:
            (low, below), high = before, share
            return high if below >= 0 else low + (high - low) * below / (below - excess)
        before = share, excess
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=SIZES, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sparse.SCREEN_AT_MOST = 1.1  # no screen turns itself off
    figures: dict[str, Any] = {}
    for size in options.size or SIZES:
        found = cpu_ms(size, options.rounds)
        pairs = [(way, other) for way in ENGINES for other in DENSE]
        pairs += [("torch, screened", "torch"), ("compiled, screened", "compiled")]
        crossings = {f"{way} / {other}": crossing(found, way, other) for way, other in pairs}
        for name, share in crossings.items():
            print(f"  {name:32} " + ("at none of these" if share is None else f"{share:.1%}"))
        figures[size] = {"cpu_ms": found, "crossings": crossings}
    _results.store("crossover", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
