"""Training at gelu-1l's size, language model and all: ours, the plain loop and SAELens.

512 → 4096, batch 4096, random gelu-1l-shaped model, rows of 128 random tokens, one token through the model
for each one trained on. Every pipeline runs in a process of its own on the same pinned cores, all in turn,
in as many rounds as asked for, each measured for eight seconds at least; rates are tokens per CPU second,
medians of the rounds. Threads that wait sleep, in all of them. SAELens is installed once, in an environment
of its own under the cache. ``limit`` is the share of the rate at which the algorithm's FLOPs would be done if
all of them were as fast as one large product of their dtype by the best engine here.

    python -m benchmarks.pipeline [--cores 1] [--steps 16] [--rounds 1]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import asdict
from pathlib import Path

from benchmarks import _results
from benchmarks._measure import Rates
from benchmarks._pipelines import OURS
from saetui.settings import cache_root

ROOT = Path(__file__).parent.parent
SAELENS = "sae-lens==6.54.12"
PLAIN = ("plain loop", "plain loop, autocast")
THEIRS = ("SAELens", "SAELens, autocast")
REACH = {"ours, sparse": 6.0, "ours, bf16, sparse": 4.5, "ours, cached, sparse": 20.0}
"""Times SAELens, bf16 beside its autocast."""


def saelens_python() -> Path:
    """The interpreter of an environment with SAELens, made where there is none."""
    folder = cache_root() / "benchmarks" / SAELENS
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        print(f"installing {SAELENS} into {folder} …", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        constraints = ["-c", str(ROOT / "constraints.txt")]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *constraints, SAELENS], check=True)
        done.touch()
    return python


def run(variant: str, cores: int, steps: int, cache: str) -> Rates:
    if variant in THEIRS:
        command = [str(saelens_python()), str(Path(__file__).with_name("_saelens.py"))]
    else:
        command = [sys.executable, "-m", "benchmarks._pipelines"]
    done = subprocess.run(
        [*command, variant, str(cores), str(steps)],
        cwd=ROOT,
        env={**os.environ, "SAETUI_CACHE": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{variant} failed:\n{done.stderr[-2000:]}")
    return Rates(**json.loads(done.stdout.splitlines()[-1]))


def has_fast_bf16() -> bool:
    """Without AVX512-BF16 or AMX a product in bf16 is emulated, tens of times slower than in fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def middle(found: list[Rates]) -> Rates:
    rates = [asdict(one) for one in found]
    medians = {
        name: statistics.median(one[name] for one in rates)
        for name in ("whole", "sae", "lm", "wall", "rss_mib")
    }
    return Rates(**{**rates[0], **medians})


def table(rounds: dict[str, list[Rates]], cores: int) -> list[dict[str, object]]:
    """Prints the figures of ``cores`` cores and gives them back with their ratios."""
    found = {name: middle(rates) for name, rates in rounds.items()}
    limits = {
        name: max(one.matmul.get(name, 0.0) for one in found.values())
        for name in ("float32", "bfloat16", "int8")
    }
    print(f"\n{cores} core{'s' * (cores > 1)}: products at " + ", ".join(
        f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in limits.items()
    ))  # fmt: skip
    print(
        f"  {'tokens/CPU-s':24} {'whole':>8} {'SAE step':>9} {'LM':>8} {'× SAELens':>10} {'step ×':>7} "
        f"{'× plain':>8} {'limit':>6} {'L0':>6} {'wall':>8} {'RSS MiB':>8}"
    )
    lines: list[dict[str, object]] = []
    for name, one in found.items():
        low = "bf16" in name or "autocast" in name
        theirs, plain = found[THEIRS[low]], found[PLAIN[low]]
        at_least_s = sum(flops / limits[dtype] for dtype, flops in one.flops.items())
        share = one.whole * at_least_s if one.flops else None
        line = {
            "cores": cores,
            **asdict(one),
            "whole_by_round": [rates.whole for rates in rounds[name]],
            "times_saelens": one.whole / theirs.whole,
            "times_plain": one.whole / plain.whole,
            "step_times_saelens": one.sae / theirs.sae,
            "share_of_limit": share,
        }
        lines.append(line)
        print(
            f"  {name:24} {one.whole:8,.0f} {one.sae:9,.0f} {one.lm:8,.0f} {line['times_saelens']:10.2f} "
            f"{line['step_times_saelens']:7.2f} {line['times_plain']:8.2f} "
            f"{'' if share is None else f'{share:.0%}':>6} "
            f"{'' if one.l0 is None else f'{one.l0:.0f}':>6} {one.wall:8,.0f} {one.rss_mib:8,.0f}"
        )
    for name, reach in REACH.items():
        if name in found:
            theirs = rounds[THEIRS["bf16" in name]]
            each = [our.whole / their.whole for our, their in zip(rounds[name], theirs, strict=True)]
            one = next(line for line in lines if line["variant"] == name)
            said = ", ".join(f"{times:.1f}" for times in each)
            print(f"  {name}: {one['times_saelens']:.1f}× SAELens ({said} by round), to reach {reach:g}×")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cores", type=int, action="append", help="1 and 2 where nothing is said")
    parser.add_argument("--steps", type=int, default=16, help="steps measured, and in the buffer")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    variants = [*PLAIN, *THEIRS, *OURS]
    if not has_fast_bf16():
        print("bf16 is left out: this CPU has neither AVX512-BF16 nor AMX, and emulates it")
        variants = [name for name in variants if "bf16" not in name and "autocast" not in name]
    available = len(os.sched_getaffinity(0))
    measured = options.cores or [n for n in (1, 2) if n <= available]
    lines = [line for line in _results.stored("pipeline") if line["cores"] not in measured]
    for cores in measured:
        rounds: dict[str, list[Rates]] = {name: [] for name in variants}
        with tempfile.TemporaryDirectory() as cache:
            saelens_python()
            for _ in range(options.rounds):
                for name in variants:
                    rounds[name].append(run(name, cores, options.steps, cache))
        lines += table(rounds, cores)
    _results.store("pipeline", sorted(lines, key=lambda line: line["cores"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
