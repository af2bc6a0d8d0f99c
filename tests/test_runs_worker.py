"""Real workers: killed, stopped, paused, resumed, queued, cut off from their terminal."""

import os
import pty
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from saetui.errors import UserError
from saetui.priority import RUN
from saetui.runs.context import RunContext
from saetui.runs.follow import follow
from saetui.runs.launcher import launch, request, resume
from saetui.runs.metrics import curve
from saetui.runs.queue import device_key, devices
from saetui.runs.status import status
from saetui.runs.store import Run
from tests.runs_support import (
    BATCH,
    eventually,
    exec_on_terminal,
    fit,
    kill_workers,
    new_run,
    use_test_worker,
    worker_pid,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    use_test_worker(monkeypatch)
    yield tmp_path / "runs"
    kill_workers(tmp_path / "runs")


def reported(run: Run, tokens: int) -> bool:
    return any(record.get("tokens", 0) >= tokens for record in run.read_metrics())


def kinds(run: Run) -> list[str]:
    return [event["kind"] for event in run.read_events()]


def rising(run: Run) -> bool:
    """Whether the run's metrics are one curve: each batch once, from first to last, and none damaged."""
    tokens = [record["tokens"] for record in curve(run.read_metrics())]
    return tokens == list(range(BATCH, len(tokens) * BATCH + 1, BATCH)) and bool(tokens)


def test_a_run_runs_and_is_followed(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run = new_run(root, "count", tokens=500)
    launch(run)
    seen: list[dict[str, object]] = []
    end = follow(run, seen.append, poll_s=0.05)
    assert end.state == "finished" and end.tokens == 500
    assert (run.folder / "cwd").read_text() == str(tmp_path)  # where relative names count from
    assert [r["kind"] for r in seen if "kind" in r] == ["launched", "running", "exit"]
    assert [r["tokens"] for r in seen if "kind" not in r] == list(range(BATCH, 501, BATCH))
    with pytest.raises(UserError, match="is finished"):
        resume(run)


def test_however_it_is_interrupted_it_ends_in_the_same_bits(root: Path) -> None:
    whole = new_run(root, "fit", tokens=8000)
    (whole.folder / "hurry").touch()
    with RunContext(whole) as context:
        fit(context)

    run = new_run(root, "fit", tokens=8000)
    launch(run)
    eventually(lambda: reported(run, 200))
    request(run, "pause")
    eventually(lambda: run.state() == "paused")
    paused_at = run.read_metrics()[-1]["tokens"]
    assert (run.checkpoints / f"{paused_at:012d}").is_dir()

    resume(run)
    eventually(lambda: reported(run, paused_at + 200))
    os.kill(worker_pid(run), signal.SIGTERM)
    eventually(lambda: run.state() == "stopped")
    stopped_at = run.read_metrics()[-1]["tokens"]
    assert (run.checkpoints / f"{stopped_at:012d}").is_dir()

    resume(run)
    eventually(lambda: reported(run, stopped_at + 700))
    os.kill(worker_pid(run), signal.SIGKILL)
    eventually(lambda: run.state() == "crashed")
    assert "process is gone" in str(status(run).message)
    before = run.read_metrics()

    (run.folder / "hurry").touch()
    resume(run)
    assert run.state() in ("queued", "running")
    eventually(lambda: run.state() == "finished")
    final = [safetensors.torch.load_file(r.folder / "final.safetensors")["weight"] for r in (whole, run)]
    assert torch.equal(final[0], final[1])
    after = run.read_metrics()
    assert after[: len(before)] == before  # no finished record is lost
    assert [r["i"] for r in after] == list(range(len(after)))
    resumed = [record["tokens"] for record in after if record.get("kind") == "resumed"]
    assert resumed[:2] == [paused_at, stopped_at]
    assert stopped_at + 200 <= resumed[2] < before[-1]["tokens"] and resumed[2] % 500 == 0
    assert rising(run)
    assert [r["loss"] for r in curve(after)] == [r["loss"] for r in whole.read_metrics()]


def test_the_hang_up_of_its_terminal_does_not_reach_it(root: Path) -> None:
    run = new_run(root, "count")
    script = (
        "import sys, pathlib; from saetui.runs import launcher; from saetui.runs.store import Run;"
        f"launcher.WORKER = {'tests.runs_support'!r};"
        f"launcher.launch(Run(pathlib.Path({str(run.folder)!r})));"
        "sys.stdin.read()"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        exec_on_terminal("-c", script)
    eventually(lambda: reported(run, BATCH))
    os.close(terminal)
    _, code = os.waitpid(pid, 0)
    assert os.WTERMSIG(code) == signal.SIGHUP  # the terminal took its launcher along
    at_hang_up = len(run.read_metrics())
    eventually(lambda: len(run.read_metrics()) > at_hang_up + 20)
    assert run.state() == "running"
    os.kill(worker_pid(run), signal.SIGHUP)
    request(run, "stop")
    eventually(lambda: run.state() == "stopped")
    assert rising(run)


def test_a_run_gives_way_to_the_screen(root: Path) -> None:
    run = new_run(root, "count")
    launch(run)
    eventually(lambda: reported(run, BATCH))
    pid = worker_pid(run)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, own + RUN)
    session = Path(f"/proc/{pid}/autogroup")
    if session.exists() and (text := session.read_text().strip()):
        assert text.endswith(f"nice {min(19, own + RUN)}")
    request(run, "stop")
    eventually(lambda: run.state() == "stopped")


def test_runs_take_turns_on_a_device_and_a_dead_waiter_blocks_nobody(root: Path) -> None:
    runs = [new_run(root, "count") for _ in range(4)]
    first, killed, stopped, last = runs
    for run in runs:
        launch(run)
    eventually(lambda: first.state() == "running")
    eventually(lambda: all(r.heartbeat_path.exists() and r.heartbeat_path.read_text() for r in runs))
    assert [run.state() for run in runs[1:]] == ["queued"] * 3
    assert [status(run).ahead for run in runs[1:]] == [1, 2, 3]

    maps = {run: Path(f"/proc/{worker_pid(run)}/maps").read_text() for run in runs[1:]}
    assert not any("libtorch" in text for text in maps.values())  # waiting costs little

    os.kill(worker_pid(killed), signal.SIGKILL)
    eventually(lambda: killed.state() == "crashed")
    request(stopped, "stop")
    eventually(lambda: stopped.state() == "stopped")
    assert last.state() == "queued" and first.state() == "running"
    request(first, "stop")
    eventually(lambda: last.state() == "running")
    assert first.state() == "stopped"
    assert kinds(stopped) == ["launched", "exit"] and not stopped.read_metrics()
    request(last, "pause")
    eventually(lambda: last.state() == "paused")


def test_a_failure_is_one_line_and_the_traceback_is_in_the_log(root: Path) -> None:
    run = new_run(root, "fail")
    launch(run)
    eventually(lambda: run.state() == "failed")
    assert status(run).message == "RuntimeError: the loss is; the traceback is in worker.log"
    assert "Traceback" in run.log_path.read_text()


def test_an_unknown_kind_fails_with_a_line(root: Path) -> None:
    run = new_run(root, "mystery")
    launch(run)
    eventually(lambda: run.state() == "failed")
    assert "kind 'mystery' is not known" in str(status(run).message)


def test_a_worker_that_cannot_start_is_seen_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAETUI_TEST_BROKEN_WORKER", "1")
    run = new_run(root, "count", tokens=BATCH)
    launch(run)
    eventually(lambda: run.state() == "crashed")
    assert status(run).message == (
        "could not start: ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    )
    monkeypatch.delenv("SAETUI_TEST_BROKEN_WORKER")
    resume(run)
    eventually(lambda: run.state() == "finished")


def test_a_full_disk_fails_the_run_which_can_be_resumed(root: Path) -> None:
    run = new_run(root, "fill_disk")
    launch(run)
    eventually(lambda: run.state() == "failed")
    assert "no room for a checkpoint" in str(status(run).message)
    (event,) = [event for event in run.read_events() if event["kind"] == "disk_full"]
    assert event["needed"] > 400_000
    assert [path.name for path in run.checkpoints.iterdir()] == ["000000000100"]
    with RunContext(run) as context:  # what a resumed worker would go on from
        found = context.latest_checkpoint()
    assert found is not None and found[1] == {"tokens": 100}


def test_as_many_runs_share_a_device_as_agreed_to_and_others_wait(root: Path) -> None:
    runs = [new_run(root, "count") for _ in range(4)]
    for run in runs[:3]:
        launch(run, at_once=2)
    launch(runs[3])
    eventually(lambda: [run.state() for run in runs] == ["running", "running", "queued", "queued"])
    request(runs[0], "stop")
    eventually(lambda: [run.state() for run in runs] == ["stopped", "running", "running", "queued"])
    request(runs[1], "stop")
    eventually(lambda: runs[1].state() == "stopped")
    assert runs[3].state() == "queued" and status(runs[3]).ahead == 1  # it asked for the device alone
    request(runs[2], "stop")
    eventually(lambda: runs[3].state() == "running")


def test_auto_is_every_gpu_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices("cuda:1") == ["cuda:1"] and devices("cpu") == ["cpu"]
    monkeypatch.setattr("saetui.runs.queue.Path.exists", lambda path: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert devices("auto") == ["cuda:0", "cuda:1"]
    assert [device_key(device) for device in devices("auto")] == ["cuda-2", "cuda-3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices("auto") == ["auto"] and device_key("auto") == "cpu"
