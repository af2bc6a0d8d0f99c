"""Runs over two devices, both of them the CPU: real workers, torchrun's launcher, real ranks."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from saetui.errors import UsageError
from saetui.runs.context import RunContext
from saetui.runs.failure import failure_line
from saetui.runs.launcher import launch, request, resume
from saetui.runs.metrics import curve
from saetui.runs.ranks import Ranks
from saetui.runs.spread import _line
from saetui.runs.status import status
from saetui.runs.store import Run, create_run
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.recipe import SplitRecipe
from saetui.split.training import wide
from saetui.split.training.trainer import Trainer
from tests.runs_support import eventually, kill_workers, worker_pid
from tests.split_support import FixedSource
from tests.tiny import write_world

STEPS = 2000
PATIENCE_S = 300.0
"""Three processes import torch before a run begins."""


@pytest.fixture
def setup(isolated_places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    monkeypatch.setattr("saetui.runs.launcher.WORKER", "tests.spread_support")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    write_world(tmp_path)
    model, sae, text = (str(tmp_path / name) for name in ("lm", "narrow", "text.jsonl"))
    yield Setup(model, "blocks.0.hook_mlp_out", sae, text, seq_len=12, device="cpu,cpu")
    kill_workers(runs_root())


def new_run(setup: Setup, steps: int = STEPS, **values: object) -> Run:
    usual = {
        "target": 0, "d_sae": 96, "tokens": 128 * steps, "batch_size": 128, "lr": 1e-3, "l1_coeff": 0.3,
        "data": "all", "buffer_tokens": 2048, "checkpoint_every": 128 * 200, "eval_every": 128 * 10**6,
    }  # fmt: skip
    return create_run(runs_root(), "split", setup, SplitRecipe.from_dict(usual | values))


def ended(run: Run) -> str:
    eventually(lambda: run.state() not in ("queued", "running"), PATIENCE_S)
    return run.state()


def trains(run: Run, before: int = 0) -> None:
    """Waits until the run reports on steps, beyond its first ``before`` reports."""

    def begun() -> bool:
        return any(
            record.get("kind") != "resumed" and record["step"] for record in run.read_metrics()[before:]
        )

    eventually(lambda: begun() or run.state() not in ("queued", "running"), PATIENCE_S)
    assert run.state() == "running", (run.read_events(), run.log_path.read_text())


def ranks_of(run: Run) -> list[int]:
    """Process ids of the ranks, in order."""
    tasks = Path(f"/proc/{worker_pid(run)}/task")
    pids = [int(pid) for path in tasks.glob("*/children") for pid in path.read_text().split()]
    return sorted(pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_however_it_is_interrupted_it_ends_in_the_same_bits_on_two_devices(setup: Setup) -> None:
    run, whole, alone = (new_run(setup) for _ in range(3))
    launch(run)
    trains(run)
    os.kill(worker_pid(run), signal.SIGTERM)
    assert ended(run) == "stopped", run.log_path.read_text()

    before = len(run.read_metrics())
    resume(run)
    trains(run, before)
    struck = ranks_of(run)[1]
    os.kill(struck, signal.SIGKILL)
    assert ended(run) == "failed"
    said = str(status(run).message)
    assert said.startswith(f"rank 1 on cpu was killed (SIGKILL, process {struck}); resuming goes on")
    eventually(lambda: not run.alive(), PATIENCE_S)

    resume(run)
    assert ended(run) == "finished", run.log_path.read_text()

    launch(whole)
    assert ended(whole) == "finished", whole.log_path.read_text()
    ours, theirs = (load_file(r.folder / "sae" / "sae_weights.safetensors") for r in (run, whole))
    for name, weight in theirs.items():
        assert torch.equal(ours[name], weight), name

    # Over so many steps rounding moves single weights; how good the SAE is, it does not.
    with RunContext(alone) as context:
        wide.run(context)
    last = [[r for r in curve(r.read_metrics()) if r.get("eval")][-1] for r in (run, alone)]
    assert last[0]["tokens"] == last[1]["tokens"] == 128 * STEPS
    assert last[0]["fvu"] == pytest.approx(last[1]["fvu"], rel=1e-2)
    events = run.read_events()
    assert [event["i"] for event in events] == list(range(len(events)))  # one writer at a time
    assert [e["state"] for e in events if e["kind"] == "exit"] == ["stopped", "failed", "finished"]


def test_a_worker_that_is_killed_takes_its_ranks_along_and_a_pause_is_heard(setup: Setup) -> None:
    run = new_run(setup, steps=10**6)
    launch(run)
    trains(run)
    ranks = ranks_of(run)
    assert len(ranks) == 2
    os.kill(worker_pid(run), signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks), PATIENCE_S)
    assert run.state() == "crashed"
    resume(run)
    request(run, "pause")  # while the ranks are not there yet
    assert ended(run) == "paused", run.log_path.read_text()


def test_a_rank_that_fails_is_named_with_what_it_said() -> None:
    said = SimpleNamespace(exitcode=1, message={"message": "RankFailed: batch_size is 1: too few tokens"})
    assert _line(0, "cuda:2", said) == "rank 0 on cuda:2: batch_size is 1: too few tokens"  # pyright: ignore


def test_too_few_tokens_to_share() -> None:
    ranks = Ranks()
    ranks.rank, ranks.count = 1, 3
    with pytest.raises(UsageError, match="batch_size is 2: too few tokens for 3 devices to share"):
        Trainer(
            SplitRecipe(init="random", data="all", batch_size=2),
            FixedSource(torch.ones(2, 4)),
            4,
            ranks=ranks,
        )


def test_a_gpu_without_room_is_one_line() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    line = failure_line(
        OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
            "which 1.25 GiB is free. Process 7 has 70.00 GiB memory in use.\nSee the documentation."
        )
    )
    assert line.startswith(
        "the GPU is out of memory: 2.00 GiB more were needed, 1.25 GiB were free; resume once"
    )
    assert "\n" not in line and "batch_size" in line
    assert failure_line(OutOfMemoryError("")).startswith("the GPU is out of memory; resume once")
