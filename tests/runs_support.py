"""What the tests of runs share: trainers of their own, a worker that knows them, and waiting."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saetui.runs import worker
from saetui.runs.context import RunContext
from saetui.runs.store import Run, create_run, list_runs
from saetui.setup import Setup
from saetui.split.recipe import SplitRecipe

BATCH = 10


def eventually(condition: Callable[[], Any], timeout_s: float = 90.0) -> Any:
    """The first true value of ``condition``; fails once the deadline is over."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)
    return value


def new_run(root: Path, kind: str, tokens: int = 1_000_000, **recipe: Any) -> Run:
    recipe = {"target": 41, "batch_size": BATCH, "checkpoint_every": 500, **recipe}
    return create_run(root, kind, Setup(device="cpu"), SplitRecipe(tokens=tokens, **recipe))


def count(context: RunContext) -> None:
    """A trainer without torch: reports every few milliseconds until it is done or asked to leave."""
    total = context.manifest.recipe["tokens"]
    (context.folder / "cwd").write_text(str(Path.cwd()))
    for tokens in range(BATCH, total + 1, BATCH):
        if (asked := context.control()) != "go":
            context.event("asked", what=asked)
            context.leave(asked)
        context.metric(tokens=tokens, loss=1 / tokens)
        time.sleep(0.002)


def fit(context: RunContext) -> None:
    """A real, small training with momentum and a generator; its weights end in ``final.safetensors``. It
    takes its time, so that it can be interrupted, unless there is a file ``hurry``."""
    import safetensors.torch
    import torch

    torch.set_num_threads(1)
    recipe = context.manifest.recipe
    hurry = (context.folder / "hurry").exists()
    generator = torch.Generator().manual_seed(recipe["seed"])
    weight = torch.randn(8, 4, generator=generator)
    momentum = torch.zeros_like(weight)
    tokens = 0
    if found := context.latest_checkpoint():
        tensors, state = found
        weight, momentum, tokens = tensors["weight"], tensors["momentum"], state["tokens"]
        generator.set_state(tensors["generator"])

    def save() -> None:
        tensors = {"weight": weight, "momentum": momentum, "generator": generator.get_state()}
        context.save_checkpoint(tensors, {"tokens": tokens})

    while tokens < recipe["tokens"]:
        if (asked := context.control()) != "go":
            save()
            context.leave(asked)
        x = torch.randn(BATCH, 8, generator=generator)
        error = x @ weight - x[:, :4]
        momentum = 0.9 * momentum + x.T @ error / BATCH
        weight = weight - 0.01 * momentum
        tokens += BATCH
        context.metric(tokens=tokens, loss=error.square().mean().item(), tokens_per_s=1000.0)
        if tokens % recipe["checkpoint_every"] == 0:
            save()
        time.sleep(0 if hurry else 0.01)
    safetensors.torch.save_file({"weight": weight}, context.folder / "final.safetensors")


def fail(context: RunContext) -> None:
    raise RuntimeError("the loss is\nnot a number")


def fill_disk(context: RunContext) -> None:
    """A checkpoint that fits, then one beyond the size that this process may write."""
    import resource

    import torch

    context.save_checkpoint({"x": torch.zeros(100)}, {"tokens": 100})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    context.metric(tokens=200)
    context.save_checkpoint({"x": torch.zeros(100_000)}, {"tokens": 200})


def use_test_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers launched from here know the trainers above."""
    monkeypatch.setattr("saetui.runs.launcher.WORKER", __name__)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))


def worker_pid(run: Run) -> int:
    return int(run.heartbeat_path.read_text())


def kill_workers(root: Path) -> None:
    """No worker outlives its test, however that ends."""
    for run in list_runs(root):
        if run.alive() and run.heartbeat_path.exists():
            os.kill(worker_pid(run), signal.SIGKILL)


if __name__ == "__main__":
    if os.environ.get("SAETUI_TEST_BROKEN_WORKER"):
        import a_module_that_is_not_there  # noqa: F401  # pyright: ignore[reportMissingImports]
    worker.TRAINERS.update(
        {name: f"tests.runs_support:{name}" for name in ("count", "fit", "fail", "fill_disk")}
    )
    sys.exit(worker.main())


def exec_on_terminal(*arguments: str) -> None:
    """What a forked child becomes: Python with the signals of a shell's foreground job, whatever the test run
    itself was told to ignore (a background job ignores SIGINT, nohup SIGHUP)."""
    for signal_number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signal_number, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, *arguments])
