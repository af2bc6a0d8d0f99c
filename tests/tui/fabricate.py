"""Run folders as a worker leaves them, with curves like a real run's: for tests, pictures and benchmarks."""

import json
import math
import random
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from saetui.runs import lock
from saetui.runs.store import Manifest, Run
from saetui.setup import Setup
from saetui.split.recipe import GraftRecipe, SplitRecipe

START = 1_795_360_000.0
PROMPTS = (("The low-", "-"), ("a multi-", "-"), ("between 3-", "-"))


class FakeRun:
    """A run folder that grows as told; deterministic for a seed."""

    def __init__(
        self,
        root: Path,
        name: str = "1122-1403-f240-k7q",
        tokens: int = 26_200_000,
        created: float = START,
        seed: int = 0,
        graft: bool = False,
        **recipe: Any,
    ) -> None:
        folder = root / name
        (folder / "control").mkdir(parents=True)
        (folder / "checkpoints").mkdir()
        self.run = Run(folder)
        made = (
            GraftRecipe(target=240, **recipe) if graft else SplitRecipe(target=240, tokens=tokens, **recipe)
        )
        manifest = Manifest(
            v=1,
            id=name,
            kind="graft" if graft else "split",
            created=created,
            setup=Setup("real", device="cpu").to_dict(),
            recipe=made.to_dict(),
            note="",
            cwd="/",
            versions={"saetui": "0.1.0"},
        )
        (folder / "manifest.json").write_text(json.dumps(asdict(manifest)))
        self._random = random.Random(seed)
        self._numbers = {"metrics": 0, "events": 0}
        self._total = tokens
        self.t = created
        self.tokens = 0
        self._lock: int | None = None

    def event(self, kind: str, **values: Any) -> None:
        self._append("events", kind=kind, **values)

    def metric(self, **values: Any) -> None:
        self._append("metrics", **values)

    def _append(self, name: str, **values: Any) -> None:
        record = {"v": 1, "i": self._numbers[name], "t": round(self.t, 3), **values}
        self._numbers[name] += 1
        with (self.run.folder / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def hold(self) -> None:
        """A process works for the run: this one."""
        self._lock = lock.take(self.run.lock_path)

    def begin(self) -> "FakeRun":
        self.event("launched", host=socket.gethostname())
        self.event("running")
        return self

    def train(self, tokens: int, per_record: int = 131_072, per_second: float = 5.2e4) -> "FakeRun":
        """Trains up to ``tokens``, with records, probes, evaluations and checkpoints on the way."""
        while self.tokens < tokens:
            before = self.tokens
            self.tokens = min(self.tokens + per_record, tokens)
            self.t += (self.tokens - before) / per_second
            self._record(per_second)
            if self.tokens // 500_000 > before // 500_000:
                self._evaluate()
            if self.tokens // 2_000_000 > before // 2_000_000:
                self.event("checkpoint", tokens=self.tokens, bytes=16_800_000, seconds=0.21)
        return self

    def early_probes(self) -> "FakeRun":
        """The dense records of the first batches, in growing intervals."""
        step = 1
        while step < 100:
            self.tokens, self.t = step * 4096, self.t + 0.02
            self.metric(tokens=self.tokens, step=step, probes=self._probes())
            step = max(step + 1, step * 6 // 5)
        return self

    def _record(self, per_second: float) -> None:
        done = self.tokens / self._total
        noise = self._random.gauss
        mse = 0.9 * math.exp(-done * 18) + 0.21 + noise(0, 0.012)
        l1 = 0.1 + 0.35 * min(1.0, done / 0.4) * (0.7 + 0.3 * math.exp(-done * 5)) + noise(0, 0.004)
        self.metric(
            tokens=self.tokens,
            step=self.tokens // 4096,
            loss=mse + l1,
            mse=mse,
            l1=l1,
            l0=18 + 90 * math.exp(-done * 9) + noise(0, 0.5),
            fvu=min(1.0, mse * 0.7 + noise(0, 0.004)),
            dead=max(0.0, 0.19 * (1 - math.exp(-max(0.0, done - 0.03) * 7)) + noise(0, 0.001)),
            lr=1e-4,
            l1_coeff=1.2 * min(1.0, done / 0.4),
            kept=0.72 + noise(0, 0.0005),
            tokens_per_s=per_second * (1 + noise(0, 0.03)),
            eta_s=(self._total - self.tokens) / per_second,
        )

    def _evaluate(self) -> None:
        done = self.tokens / self._total
        self.metric(
            eval=True,
            tokens=self.tokens,
            step=self.tokens // 4096,
            fvu=0.16 + 0.5 * math.exp(-done * 15),
            l0=18.5 + 90 * math.exp(-done * 9),
            ce=3.9,
            ce_sae=3.95 + math.exp(-done * 12),
            ce_zero=6.4,
            ce_recovered=0.98 - 0.4 * math.exp(-done * 12),
            probes=self._probes(),
        )

    def _probes(self) -> list[dict[str, Any]]:
        """The target wins at first; by a hundred thousand tokens a child of its own has taken over."""
        when = math.log10(max(self.tokens, 1))
        target = 4.2 / (1 + math.exp((when - 5.0) * 4))
        out = []
        for k, (prompt, token) in enumerate(PROMPTS):
            child = 5.0 / (1 + math.exp(-(when - 5.1 - 0.2 * k) * 4))
            rows = [[240, target], [711 + 400 * k, child], [1022, 0.6], [97, 0.3 + 0.1 * k]]
            top = sorted(([f, round(a, 3)] for f, a in rows if a > 0.05), key=lambda row: -row[1])
            out.append({"prompt": prompt, "token": token, "target": round(target, 4), "top": top})
        return out

    def finish(self, state: str = "finished", **values: Any) -> "FakeRun":
        self.event("exit", state=state, **values)
        return self


def several_runs(root: Path, now: float | None = None) -> list[FakeRun]:
    """One run in each state that needs no process, and a running and a queued one held by this process."""
    created = START if now is None else now - 7200
    runs = []
    names = ("1122-0911-f240-abc", "1122-1013-f240-def", "1122-1102-f7-ghj", "1122-1140-f240-kmn")
    for i, (name, end) in enumerate(zip(names, ("finished", "stopped", "failed", "crashed"), strict=True)):
        fake = FakeRun(
            root, name, created=created + 900 * i, seed=i, loss=("standard", "target_zeroed")[i % 2]
        )
        fake.begin().train((26_200_000, 9_000_000, 1_000_000, 4_000_000)[i], per_record=524_288)
        if end == "failed":
            fake.finish("failed", message="no token left after the filter: lower the threshold (2.0)")
        elif end != "crashed":
            fake.finish(end)
        runs.append(fake)
    crashed = runs[3].run
    crashed.log_path.write_text("loading model\nKilled\n")
    running = FakeRun(root, created=created + 4800)
    running.hold()
    running.begin().early_probes().train(11_000_000)
    queued = FakeRun(root, "1122-1410-f240-wxy", created=created + 5000, graft=True)
    queued.hold()
    queued.event("launched", host=socket.gethostname())
    return [*runs, running, queued]


if __name__ == "__main__":  # a folder to look at: python -m tests.tui.fabricate DIR [--grow]
    import sys

    fakes = several_runs(Path(sys.argv[1]), time.time())
    while "--grow" in sys.argv:
        time.sleep(1)
        fakes[4].train(fakes[4].tokens + 52_000, per_record=52_000)
