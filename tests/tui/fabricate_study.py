"""A study's folder as its process leaves it, its runs fabricated: for tests of screens and for pictures."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from saetui.runs import lock
from saetui.setup import Setup
from saetui.split.judging.review import store_judgement
from saetui.split.recipe import SplitRecipe
from saetui.studies.cells import Cell
from saetui.studies.store import FOLDER, Plan, Study
from tests.tui.fabricate import START, FakeRun
from tests.tui.fake_engine import judgement

TOKENS = 6_000_000
ROWS = (
    ("narrow · filtered", "what the post found to work", {"init": "narrow", "data": "filtered"}),
    ("random · all", "", {"init": "random", "data": "all"}),
)


class FakeStudy:
    """Two recipes, three seeds each; no cell has a run as long as none is given."""

    def __init__(self, root: Path, name: str = "reliable") -> None:
        self.root = root
        self.study = Study(root / FOLDER / name)
        self.study.stop_path.parent.mkdir(parents=True)
        cells = [
            Cell(f"{row.split()[0]}.f240.s{seed}", row, purpose, _recipe(seed, **values))
            for row, purpose, values in ROWS
            for seed in (1, 2, 3)
        ]
        self.cells = {cell.id: cell for cell in cells}
        plan = Plan("does the filter make it reliable?", "split", Setup("real").to_dict(), tuple(cells))
        (self.study.folder / "plan.json").write_text(json.dumps(asdict(plan)))
        (self.study.folder / "study.toml").write_text('title = "x"\n')
        self.event("launched", at_once=1)
        self._lock: int | None = None

    def event(self, kind: str, **values: Any) -> None:
        with self.study.events_path.open("a") as file:
            file.write(json.dumps({"v": 1, "t": START, "kind": kind, **values}) + "\n")

    def hold(self) -> None:
        """A process works for the study: this one."""
        self._lock = lock.take(self.study.lock_path)

    def run(self, cell: str, number: int) -> FakeRun:
        """A run of ``cell`` that has begun."""
        name = f"1122-14{number:02}-f240-{'abcdefghjk'[number] * 3}"
        fake = FakeRun(self.root, name, TOKENS, START + 60 * number, seed=number)
        path = fake.run.folder / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps(manifest | {"recipe": self.cells[cell].recipe}))
        self.event("run", cell=cell, run=name)
        self.event("attempt", cell=cell)
        return fake.begin()

    def finished(self, cell: str, number: int, passed: bool = True) -> FakeRun:
        fake = self.run(cell, number).train(TOKENS, per_record=524_288)
        children = [
            {"child": child, "feature": 512 + k, "f1": 0.9 - 0.1 * k - 0.05 * number}
            for k, child in enumerate(("count", "adverb"))
        ]
        fake.metric(
            eval=True, tokens=TOKENS, step=1500, fvu=0.2, l0=18.5, ce_recovered=0.97, children=children
        )
        fake.finish()
        found = judgement(fake.run.id)
        if passed:
            found = type(found)(**{**vars(found), "children": found.children[:2]})
        store_judgement(fake.run.folder, found)
        return fake


def _recipe(seed: int, **values: Any) -> dict[str, Any]:
    return SplitRecipe(target=240, tokens=TOKENS, seed=seed, **values).to_dict()


def half_done(root: Path) -> FakeStudy:
    """One cell of each kind: finished with either verdict, failed, running, waiting."""
    fake = FakeStudy(root)
    fake.finished("narrow.f240.s1", 0)
    fake.finished("narrow.f240.s2", 1, passed=False)
    failed = fake.run("random.f240.s1", 2)
    failed.finish("failed", message="no token left after the filter: lower the threshold (2.0)")
    running = fake.run("random.f240.s2", 3)
    running.hold()
    running.train(2_000_000)
    fake.hold()
    return fake
