"""The census of the embedded worlds: what it costs and finds, and how well the rank before it predicts it.

python -m benchmarks.census [-o docs/census] [real synthetic]
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import _results
from saetui import embedded
from saetui.census.census import take_census
from saetui.census.defaults import census_recipe
from saetui.census.results import Census
from saetui.features.index import FeatureIndex
from saetui.features.row_store import RowStore
from saetui.loading import load_lm, load_sae, open_rows
from saetui.reports import markdown
from saetui.reports.census import census_tables
from saetui.reports.document import Block, Document, Heading, Text
from saetui.setup import Setup


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.census")
    parser.add_argument("worlds", nargs="*", default=list(embedded.WORLDS), help="real, synthetic")
    parser.add_argument("-o", "--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    options = parser.parse_args()
    taken = {world: _take(world) for world in options.worlds}
    blocks: list[Block] = []
    for world, (census, cost) in taken.items():
        blocks += [Heading(f"The {world} world"), *_blocks(census, cost)]
    document = Document("Which features hide several contexts", blocks)
    print(markdown.render(document))
    values = {
        world: {"cost": cost, "recipe": census.recipe, "agreement": [asdict(a) for a in census.agreement]}
        for world, (census, cost) in taken.items()
    }
    _results.store("census", {world: one["cost"] for world, one in values.items()})
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.with_suffix(".md").write_text(markdown.render(document) + "\n", encoding="utf-8")
        options.output.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


def _take(world: str) -> tuple[Census, dict[str, Any]]:
    """A census from nothing but the text and its activations: its own files go to a folder that is thrown
    away. ``reading``: of the text, its activations and the index, which other commands share."""
    setup = Setup(world, device="cpu")
    lm, narrow, recipe = load_lm(setup), load_sae(setup), census_recipe(setup)
    store = RowStore(lm, open_rows(setup, lm.tokenizer, "train"))
    with closing(store), closing(FeatureIndex(store, narrow)) as index:
        reading = _Clock()
        index.build(recipe.tokens)
        cost: dict[str, Any] = {"threads": torch.get_num_threads(), "reading": reading.read()}
        own = index.folder
        with tempfile.TemporaryDirectory() as folder:
            index.folder, taking = Path(folder), _Clock()
            census = take_census(narrow, index, recipe)
            cost["census"] = taking.read()
        index.folder = own
    return census, cost


class _Clock:
    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}


def _blocks(census: Census, cost: dict[str, Any]) -> list[Block]:
    grafted = [one for one in census.features if one.children]
    kinds = Counter(one.split_by for one in census.features)
    chosen = Counter(one.children for one in grafted)
    spent = cost["census"]
    about = (
        f"{len(grafted)} of {len(census.features)} features grafted on {census.tokens_read:,} tokens, in "
        f"{spent['cpu_s']:.0f} s of CPU time (on {cost['threads']} threads; reading text and activations "
        f"before that: {cost['reading']['cpu_s']:.0f} s). Children told apart by the context "
        f"beyond the token: {kinds['context']} features; by the token: {kinds['token']}; by neither: "
        f"{kinds['neither']}; too rare: {kinds['rare']}. Number of children chosen by held-out gain: "
        + ", ".join(f"{k} for {count}" for k, count in sorted(chosen.items()))
        + "."
    )
    return [Text(about), *census_tables(census)]


if __name__ == "__main__":
    raise SystemExit(main())
