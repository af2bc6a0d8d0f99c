"""The whole loop on the embedded worlds, through the doors that a person takes, in a cache of its own.

At first there is nothing: a wide split from the shell (``saetui split``, ``saetui judge``), from launch to
verdict, the corpus built on the way. Then the workbench's engine: from its start to its first answers and to
the end of the index; a graft of the target and of features drawn from all, from the request to the children;
the census, for some seconds; and the wide split again with another seed, its activations those that the index
has stored, judged by the engine.

    python -m benchmarks.loop [--world synthetic] [--grafts 5] [--census 120]
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
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
    values: dict[str, float] = field(default_factory=dict[str, float])

    def note(self, what: str, value: float, unit: str = "s", reach: float | None = None) -> None:
        self.values[f"{what}, {unit}"] = round(value, 3)
        to_reach = "" if reach is None else f"   to reach {reach:g}{'  missed' * (value > reach)}"
        print(f"  {what:58} {value:10,.2f} {unit}{to_reach}", flush=True)


def saetui(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-P", "-m", "saetui", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"saetui {' '.join(arguments)}: {done.stderr[-1000:]}")
    return done.stdout


def timeline(run_id: str) -> dict[str, float]:
    """Seconds from launch to what a run reported: its first events and metrics, and its end."""
    from saetui.runs.store import find_run
    from saetui.settings import runs_root

    run = find_run(runs_root(), run_id)
    events = [json.loads(line) for line in run.events_path.read_text().splitlines()]
    metrics = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    launched = events[0]["t"]
    costs = [one for one in metrics if "lm_s" in one][-1]
    return {
        "first report": metrics[0]["t"] - launched,
        "first step": next(one["t"] for one in metrics if one["tokens"]) - launched,
        "end": events[-1]["t"] - launched,
        "reading": costs["lm_s"],
        "steps": costs["sae_s"],
        "tokens through the model": costs["tokens_computed"],
    }


def cold_split(world: embedded.World, figures: Figures) -> None:
    begun = time.perf_counter()
    said = json.loads(saetui("split", "--model", world.name, "--device", "cpu", "--detach", "--json"))
    launched = time.perf_counter()
    run_id = said["id"]
    subprocess.run([sys.executable, "-P", "-m", "saetui", "watch", run_id], capture_output=True, check=True)
    ended = time.perf_counter()
    judged = json.loads(saetui("judge", run_id, "--json"))
    verdict = time.perf_counter()
    found = timeline(run_id)
    figures.note("shell: `saetui split --detach` returns", launched - begun)
    figures.note("empty cache: launch to the first step", found["first step"])
    figures.note("empty cache: launch to the end of the run", ended - launched)
    figures.note("empty cache: of this reading, model, filter", found["reading"])
    figures.note("empty cache: of this steps", found["steps"])
    figures.note("empty cache: `saetui judge`", verdict - ended)
    figures.note("empty cache: command to verdict", verdict - begun, reach=REACH[world.name])
    figures.note("empty cache: children passed", passed(judged["judgement"]["children"]), "of 3")


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
    figures.note("engine: start to open", time.perf_counter() - begun)
    await engine.request("probe", prompt=world.prompts[0])
    figures.note("engine: start to the first prompt's features", time.perf_counter() - begun)
    while not (await engine.request("contexts", feature=world.target)).top:
        await asyncio.sleep(0.02)
    figures.note("engine: start to the first contexts", time.perf_counter() - begun)
    await indexed.wait()
    seconds = time.perf_counter() - begun
    found = await engine.request("densities")
    figures.note("index complete", seconds)
    figures.note("index", found.tokens_read / seconds, "tokens/s")
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
    took: list[float] = []
    for feature in features:
        threshold = (
            world.threshold if feature == world.target else threshold_of(found.max_activation[feature])
        )
        recipe = {**world.graft, "target": feature, "threshold": threshold}
        begun = time.perf_counter()
        answer = await engine.request("graft", recipe=recipe)
        took.append(time.perf_counter() - begun)
        assert answer.children
    figures.note("graft of the target: request to children", took[0], reach=GRAFT_REACH)
    if took[1:]:
        figures.note(f"graft of {len(took) - 1} other features, median", statistics.median(took[1:]))
        figures.note("… and the longest", max(took[1:]), reach=GRAFT_REACH)


async def some_census(engine: Any, figures: Figures, seconds: float) -> None:
    """Until two groups of features after the first are done, or for so many seconds."""
    seen: dict[int, float] = {}
    enough = asyncio.Event()

    def on_progress(message: dict[str, Any]) -> None:
        if found := re.match(r"grafting: ([\d,]+) of", message["message"]):
            seen.setdefault(int(found[1].replace(",", "")), time.perf_counter())
            if len(seen) > 2:
                enough.set()

    begun = time.perf_counter()
    census = asyncio.create_task(engine.request("census", on_progress=on_progress))
    await asyncio.wait(
        [census, asyncio.create_task(enough.wait())], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
    )
    if census.done():
        seen[len(census.result().features)] = time.perf_counter()
    else:
        census.cancel()
    if len(seen) > 1:
        (first, began), (last, ended) = min(seen.items()), max(seen.items())
        figures.note("census: its sample", began - begun)
        figures.note(f"census: per feature, of {last - first}", (ended - began) / (last - first))


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
    while run.state() in ("queued", "running"):
        await asyncio.sleep(0.05)
    ended = time.perf_counter()
    await engine.request("open_run", run=run.id)
    judgement = await engine.request("judge", sae=run.id)
    verdict = time.perf_counter()
    found = timeline(run.id)
    figures.note("indexed: launch to the first report", found["first report"])
    figures.note("indexed: launch to the first step", found["first step"])
    figures.note("indexed: launch to the end of the run", ended - begun)
    figures.note("indexed: of this reading, model, filter", found["reading"])
    figures.note("indexed: of this steps", found["steps"])
    figures.note("indexed: tokens through the language model", found["tokens through the model"], "tokens")
    figures.note("indexed: judged by the engine", verdict - ended)
    figures.note("indexed: launch to verdict", verdict - begun, reach=REACH[world.name])
    figures.note("indexed: children passed", passed(judgement.children), "of 3")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--world", choices=embedded.WORLDS, action="append")
    parser.add_argument("--grafts", type=int, default=5, help="features grafted beside the target")
    parser.add_argument("--census", type=float, default=120, help="seconds of the census, at most")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
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
