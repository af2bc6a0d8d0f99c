"""The whole loop on the embedded worlds, through the doors that a person takes, in a cache of its own.

At first there is nothing: a wide split from the shell (``saetui split``, ``saetui judge``), from launch to
verdict, the corpus built on the way. Then the workbench's engine: from its start to its first answers and to
the end of the index; a graft of the target and of features drawn from all, from the request to the children;
the census, for some seconds; and the wide split again with another seed, its activations those that the index
has stored, judged by the engine.

Beside the seconds that pass stand the CPU seconds of the process at work (all threads): what a machine with
other things to do does not change much, and no less than what would pass where it has none.

    python -m benchmarks.loop [--world synthetic] [--grafts 5] [--census 120]
"""

import argparse
import asyncio
import json
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import _results
from saetui import embedded
from saetui.features.results import Densities

REACH = {"real": 60.0, "synthetic": 30.0}
"""Seconds from launch to verdict, on two cores."""
GRAFT_REACH = 5.0


@dataclass
class Figures:
    """Seconds, and what else is counted; printed as they come."""

    world: str
    values: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    def note(
        self, what: str, value: float, cpu: float | None = None, unit: str = "s", reach: float | None = None
    ) -> None:
        self.values[what] = {unit: round(value, 3)} | ({} if cpu is None else {"CPU s": round(cpu, 3)})
        shown = "" if cpu is None else f"{cpu:8.2f} CPU s"
        to_reach = "" if reach is None else f"   to reach {reach:g} s{', missed' * (value > reach)}"
        print(f"  {what:52} {value:10,.2f} {unit:9}{shown}{to_reach}", flush=True)


def cpu_seconds(pid: int | None) -> float:
    """Of a process that lives, its children apart."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Watched:
    """A run from its launch to its end: wall seconds and CPU seconds of its process."""

    first_step: tuple[float, float] = (0.0, 0.0)
    end: tuple[float, float] = (0.0, 0.0)
    reading: float = 0.0
    """CPU seconds of reading, language model and filter, …"""
    steps: float = 0.0
    """… and of steps."""
    computed: int = 0
    """Tokens through the language model."""


def watch(run_id: str, begun: float) -> Watched:
    """Follows a run until it ends, as a look a tenth of a second; ``begun``: when it was launched."""
    from saetui.runs.store import find_run
    from saetui.settings import runs_root

    run, found = find_run(runs_root(), run_id), Watched()
    used = 0.0
    while run.state() in ("queued", "running"):
        with suppress(OSError, ValueError):
            used = cpu_seconds(int(run.heartbeat_path.read_text()))
        if not found.first_step[0] and run.metrics_path.exists():
            records = [
                json.loads(line) for line in run.metrics_path.read_text().splitlines() if line[-1:] == "}"
            ]
            if any(record["tokens"] for record in records):
                found.first_step = time.perf_counter() - begun, used
        time.sleep(0.1)
    found.end = time.perf_counter() - begun, used
    if run.state() != "finished":
        raise SystemExit(f"{run_id} is {run.state()}: {run.log_path.read_text()[-1000:]}")
    costs = next(one for one in run.read_metrics()[::-1] if "lm_cpu_s" in one)
    found.reading, found.steps = costs["lm_cpu_s"], costs["sae_cpu_s"]
    found.computed = costs["tokens_computed"]
    return found


def saetui(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-P", "-m", "saetui", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"saetui {' '.join(arguments)}: {done.stderr[-1000:]}")
    return done.stdout


def cold_split(world: embedded.World, figures: Figures) -> None:
    begun = time.perf_counter()
    said = json.loads(saetui("split", "--model", world.name, "--device", "cpu", "--detach", "--json"))
    launched = time.perf_counter()
    run = watch(said["id"], launched)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = time.perf_counter()
    judged = json.loads(saetui("judge", said["id"], "--json"))
    verdict = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    judge_cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    figures.note("nothing cached: `saetui split --detach` returns", launched - begun)
    show_run(figures, "nothing cached", run)
    figures.note("nothing cached: `saetui judge`", verdict - ended, judge_cpu)
    total = run.end[1] + judge_cpu
    figures.note("nothing cached: command to verdict", verdict - begun, total, reach=REACH[world.name])
    figures.note("nothing cached: children passed", passed(judged["judgement"]["children"]), unit="of 3")


def show_run(figures: Figures, when: str, run: Watched) -> None:
    figures.note(f"{when}: launch to the first step", *run.first_step)
    figures.note(f"{when}: launch to the end of the run", *run.end)
    figures.note(f"{when}: of this reading, model, filter", run.reading, unit="CPU s")
    figures.note(f"{when}: of this steps", run.steps, unit="CPU s")
    figures.note(f"{when}: tokens through the language model", run.computed, unit="tokens")


def passed(children: list[Any]) -> int:
    def of(value: Any, name: str) -> Any:
        return value[name] if isinstance(value, dict) else getattr(value, name)

    return sum(all(of(criterion, "passed") for criterion in of(child, "criteria")) for child in children)


async def workbench(world: embedded.World, figures: Figures, grafts: int, census_s: float) -> None:
    from saetui.engine.client import EngineClient
    from saetui.setup import Setup

    setup = Setup(model=world.name, device="cpu")
    indexed = asyncio.Event()

    def on_notice(notice: dict[str, Any]) -> None:
        if notice["notice"] == "index" and notice["complete"]:
            indexed.set()

    engine = EngineClient(on_notice)
    begun = time.perf_counter()
    await engine.start()
    await engine.request("open", setup=setup.to_dict())
    figures.note("engine: start to open", time.perf_counter() - begun, cpu_seconds(engine.pid))
    await engine.request("probe", prompt=world.prompts[0])
    figures.note("engine: start to the first prompt's features", time.perf_counter() - begun)
    while not (await engine.request("contexts", feature=world.target)).top:
        await asyncio.sleep(0.02)
    figures.note("engine: start to the first contexts", time.perf_counter() - begun, cpu_seconds(engine.pid))
    await indexed.wait()
    seconds, used = time.perf_counter() - begun, cpu_seconds(engine.pid)
    found = await engine.request("densities")
    figures.note(f"engine: index of {found.tokens_read:,} tokens complete", seconds, used)
    await every_graft(engine, world, figures, grafts, found)
    await some_census(engine, figures, census_s)
    await warm_split(engine, world, figures)
    await engine.close()


async def every_graft(
    engine: Any, world: embedded.World, figures: Figures, grafts: int, found: Densities
) -> None:
    from saetui.split.threshold import threshold_of

    firings = [round(density * found.tokens_read) for density in found.density]
    chosen = [f for f, fired in enumerate(firings) if fired > 4096 and f != world.target]
    features = [world.target, *random.Random(0).sample(chosen, min(grafts, len(chosen)))]
    took: list[tuple[float, float]] = []
    for feature in features:
        threshold = (
            world.threshold if feature == world.target else threshold_of(found.max_activation[feature])
        )
        recipe = {**world.graft, "target": feature, "threshold": threshold}
        begun, used = time.perf_counter(), cpu_seconds(engine.pid)
        answer = await engine.request("graft", recipe=recipe)
        took.append((time.perf_counter() - begun, cpu_seconds(engine.pid) - used))
        assert answer.children
    figures.note("graft of the target: request to children", *took[0], reach=GRAFT_REACH)
    if took[1:]:
        wall, cpu = (statistics.median(one[i] for one in took[1:]) for i in (0, 1))
        figures.note(f"graft of {len(took) - 1} other features, median", wall, cpu)
        figures.note("… and the longest", *max(took[1:]), reach=GRAFT_REACH)


async def some_census(engine: Any, figures: Figures, seconds: float) -> None:
    """Until two groups of features after the first are done, or for so many seconds."""
    seen: dict[int, tuple[float, float]] = {}

    def now() -> tuple[float, float]:
        return time.perf_counter(), cpu_seconds(engine.pid)

    enough = asyncio.Event()

    def on_progress(message: dict[str, Any]) -> None:
        if found := re.match(r"grafting: ([\d,]+) of", message["message"]):
            seen.setdefault(int(found[1].replace(",", "")), now())
            if len(seen) > 2:
                enough.set()

    begun = now()
    census = asyncio.create_task(engine.request("census", on_progress=on_progress))
    waiting = asyncio.create_task(enough.wait())
    await asyncio.wait([census, waiting], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if census.done():
        seen[len(census.result().features)] = now()
    else:
        census.cancel()
    if len(seen) > 1:
        (first, began), (last, ended) = min(seen.items()), max(seen.items())
        figures.note("census: its sample", began[0] - begun[0], began[1] - begun[1])
        wall, cpu = ((ended[i] - began[i]) / (last - first) for i in (0, 1))
        figures.note(f"census: a feature, over {last - first}", wall, cpu)


async def warm_split(engine: Any, world: embedded.World, figures: Figures) -> None:
    from saetui.runs.launcher import launch
    from saetui.runs.store import create_run
    from saetui.settings import cache_root, runs_root
    from saetui.setup import Setup
    from saetui.split.defaults import world_values
    from saetui.split.recipe import SplitRecipe

    setup = Setup(model=world.name, device="cpu")
    shutil.rmtree(cache_root() / "activations", ignore_errors=True)  # the first run's: the index has its own
    begun = time.perf_counter()
    recipe = SplitRecipe.from_dict({**world_values(SplitRecipe, setup), "seed": 1})
    run = create_run(runs_root(), "split", setup, recipe)
    launch(run)
    found = await asyncio.to_thread(watch, run.id, begun)
    ended, used = time.perf_counter(), cpu_seconds(engine.pid)
    await engine.request("open_run", run=run.id)
    judgement = await engine.request("judge", sae=run.id)
    verdict, judged = time.perf_counter(), cpu_seconds(engine.pid) - used
    show_run(figures, "indexed", found)
    figures.note("indexed: judged by the engine", verdict - ended, judged)
    total = found.end[1] + judged
    figures.note("indexed: launch to verdict", verdict - begun, total, reach=REACH[world.name])
    figures.note("indexed: children passed", passed(judgement.children), unit="of 3")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--world", choices=embedded.WORLDS, action="append")
    parser.add_argument("--grafts", type=int, default=5, help="features grafted beside the target")
    parser.add_argument("--census", type=float, default=120, help="seconds of the census, at most")
    options = parser.parse_args()
    results: dict[str, Any] = {"load average before": os.getloadavg()[0]}
    print(f"load average {os.getloadavg()[0]:.1f} before it begins")
    for name in options.world or embedded.WORLDS[::-1]:
        world, figures = embedded.world(name), Figures(name)
        print(f"{name}, {len(os.sched_getaffinity(0))} cores")
        with tempfile.TemporaryDirectory() as folder:
            for place in ("STATE", "RUNS", "CACHE"):
                os.environ[f"SAETUI_{place}"] = str(Path(folder) / place.lower())
            os.environ["SAETUI_CONFIG"] = str(Path(folder) / "settings.toml")
            cold_split(world, figures)
            asyncio.run(workbench(world, figures, options.grafts, options.census))
        results[name] = figures.values
    _results.store("loop", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
