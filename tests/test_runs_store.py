"""The folder of a run: names, manifests, states, curves."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from saetui.errors import UsageError, UserError
from saetui.runs import lock
from saetui.runs.journal import Journal
from saetui.runs.launcher import claim, launch, request
from saetui.runs.metrics import Curve, curve
from saetui.runs.queue import DeviceQueue, device_key
from saetui.runs.status import list_status, status
from saetui.runs.store import Run, create_run, find_run, list_runs, remove_run
from saetui.setup import Setup
from saetui.split.recipe import GraftRecipe
from tests.runs_support import new_run


def test_an_id_says_when_and_what_and_can_be_typed(tmp_path: Path) -> None:
    run = new_run(tmp_path, "split")
    date, clock, target, letters = run.id.split("-")
    assert (date + clock).isdigit() and target == "f41" and len(letters) == 3
    assert run.manifest.id == run.id
    assert run.manifest.recipe["target"] == 41 and run.manifest.setup["device"] == "cpu"
    assert run.manifest.versions["torch"]
    assert not list(run.folder.glob(".*"))  # no temporary file is left


def test_a_run_is_found_by_its_beginning_or_its_letters(tmp_path: Path) -> None:
    a, b = new_run(tmp_path, "split"), new_run(tmp_path, "split")
    assert find_run(tmp_path, a.id) == a
    assert find_run(tmp_path, b.id[-3:]) == b
    with pytest.raises(UsageError, match="fits 2 runs: .*" + a.id):
        find_run(tmp_path, a.id[:4])
    with pytest.raises(UsageError, match="no run 'zzz' in"):
        find_run(tmp_path, "zzz")
    with pytest.raises(UsageError, match="no run ''"):
        find_run(tmp_path / "nowhere", "")


def test_runs_are_listed_newest_first_and_strangers_left_out(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []
    runs = [new_run(tmp_path, "split") for _ in range(3)]
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    broken = new_run(tmp_path, "split")
    (broken.folder / "manifest.json").write_text("{")
    assert list_runs(tmp_path) == runs[::-1]


@pytest.mark.parametrize(
    ("text", "says"), [("{", "cannot be read"), ('{"v": 2}', "newer saetui"), ('{"v": 1}', "id is missing")]
)
def test_a_damaged_manifest_is_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    run = new_run(tmp_path, "split")
    (run.folder / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=says):
        Run(run.folder).manifest  # noqa: B018
    with pytest.raises(UserError, match="it has no manifest"):
        Run(tmp_path / "nowhere").manifest  # noqa: B018


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"no run can be made in .*SAETUI_RUNS"):
        new_run(tmp_path / "file" / "runs", "split")


def test_without_room_for_a_launch_there_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path, "split")
    run.log_path.mkdir()  # what cannot be opened for writing
    with pytest.raises(UserError, match=f"{run.id} cannot be launched: Is a directory"):
        launch(run)
    assert run.state() == "crashed" and not run.alive()

    def write_atomic(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("saetui.runs.store.write_atomic", write_atomic)
    with pytest.raises(UserError, match=r"no run can be made in .*: No space left"):
        new_run(tmp_path, "split")
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == [run.id]


def events(run: Run, *records: dict[str, Any]) -> None:
    with Journal(run.events_path) as journal:
        for record in records:
            journal.append(**record)


HERE = {"kind": "launched", "host": socket.gethostname()}
RUNNING = {"kind": "running", "pid": 1}


@pytest.mark.parametrize("end", ["finished", "failed", "paused", "stopped"])
def test_an_exit_event_is_the_state_whoever_holds_the_lock(tmp_path: Path, end: str) -> None:
    run = new_run(tmp_path, "split")
    events(run, HERE, RUNNING, {"kind": "exit", "state": end})
    assert run.state() == end
    fd = lock.take(run.lock_path)
    assert fd is not None and run.state() == end
    os.close(fd)


def test_the_lock_tells_running_from_crashed(tmp_path: Path) -> None:
    run = new_run(tmp_path, "split")
    assert run.state() == "stopped"  # never launched
    fd = claim(run)
    assert run.alive() and run.state() == "queued"
    events(run, RUNNING)
    assert run.state() == "running"
    with pytest.raises(UserError, match="at work already"):
        launch(run)
    with pytest.raises(UserError, match="saetui stop"):
        remove_run(run)
    os.close(fd)
    assert not run.alive() and run.state() == "crashed"
    remove_run(run)
    assert list(tmp_path.glob("*-f41-*")) == []


def test_a_lock_is_held_by_whoever_inherited_it_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert lock.is_held(path) is False
    fd = lock.take(path)
    assert fd is not None
    script = "import sys; sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, pass_fds=(fd,))
    os.close(fd)
    assert lock.is_held(path) is True
    assert lock.take(path, patience_s=0) is None
    child.kill()
    child.communicate()
    assert lock.is_held(path) is False
    again = lock.take(path, patience_s=0)
    assert again is not None
    os.close(again)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    script = f"""
import os, pathlib, time
from saetui.runs import lock
fd = lock.take(pathlib.Path({str(tmp_path / "lock")!r}))
lock.keep_from_forks(fd)
pid = os.fork()
if pid == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
os._exit(0)
"""
    out = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert out.stdout is not None
    child = int(out.stdout.readline())
    out.wait()
    try:
        assert lock.is_held(tmp_path / "lock") is False
    finally:
        os.kill(child, 9)
        out.stdout.close()


def test_a_run_of_another_machine_lives_by_its_heartbeat(tmp_path: Path) -> None:
    run = new_run(tmp_path, "split")
    events(run, {**HERE, "host": "another-machine"}, RUNNING)
    run.heartbeat_path.touch()
    assert run.state() == "running"
    with pytest.raises(UserError, match="at work already"):
        claim(run)
    os.utime(run.heartbeat_path, (0, 0))
    assert run.state() == "crashed"


def test_without_file_locks_the_heartbeat_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    run = new_run(tmp_path, "split")
    os.close(claim(run))
    assert run.state() == "queued"
    events(run, RUNNING)
    run.heartbeat_path.touch()
    assert run.state() == "running"
    os.utime(run.heartbeat_path, (0, 0))
    assert run.state() == "crashed"


def test_only_a_live_run_can_be_asked_to_leave(tmp_path: Path) -> None:
    run = new_run(tmp_path, "split")
    with pytest.raises(UserError, match="is stopped: there is nothing to pause"):
        request(run, "pause")
    fd = claim(run)
    request(run, "stop")
    assert [path.name for path in run.control.iterdir()] == ["stop"]
    os.close(fd)
    os.close(claim(run))  # the next launch does not obey old requests
    assert list(run.control.iterdir()) == []


def test_a_resume_supersedes_what_was_reported_beyond_its_checkpoint() -> None:
    before = [{"tokens": t, "loss": 1.0} for t in (10, 20, 30, 40)]
    after = [{"tokens": t, "loss": 2.0} for t in (30, 40, 50)]
    records = [*before, {"kind": "resumed", "tokens": 20}, *after]
    assert [(r["tokens"], r["loss"]) for r in curve(records)] == [
        (10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0),
    ]  # fmt: skip
    growing = Curve()
    assert [growing.extend([record]) for record in records] == [False] * 4 + [True] + [False] * 3
    assert growing.records == curve(records)
    assert curve([*records, {"kind": "resumed", "tokens": 0}]) == []


def test_a_status_is_read_off_the_files(tmp_path: Path) -> None:
    run = new_run(tmp_path, "split", tokens=1000)
    fd = claim(run)
    events(run, RUNNING)
    with Journal(run.metrics_path) as metrics:
        metrics.append(tokens=100, loss=0.5, l0=30.0, tokens_per_s=50.0, eta_s=18.0)
        metrics.append(tokens=100, eval=True, fvu=0.2)
    now = status(run)
    assert (now.state, now.target, now.tokens, now.tokens_total, now.progress) == (
        "running",
        41,
        100,
        1000,
        0.1,
    )
    assert (now.loss, now.l0, now.fvu, now.eta_s) == (0.5, 30.0, 0.2, 18.0)
    assert now.summary == "4096 · narrow · filtered row · standard"
    with Journal(run.metrics_path) as metrics:
        metrics.append(kind="resumed", tokens=50)
    assert status(run).tokens == 50
    os.close(fd)
    crashed = status(run)
    assert crashed.state == "crashed" and crashed.eta_s is None and "process is gone" in str(crashed.message)
    graft = create_run(tmp_path, "graft", Setup(), GraftRecipe(target=3), note="a look")
    assert next((s.id, s.summary, s.note) for s in list_status(tmp_path)) == (
        graft.id, "32 children · 600 steps", "a look",
    )  # fmt: skip


def test_the_dead_do_not_stand_in_the_queue(tmp_path: Path) -> None:
    runs = [new_run(tmp_path, "split") for _ in range(3)]
    fds = [claim(run) for run in runs]
    queues = [DeviceQueue(run) for run in runs]
    assert [queue.ahead() for queue in queues] == [0, 1, 2]
    assert status(runs[2]).ahead == 2
    os.close(fds[0])
    assert [queue.ahead() for queue in queues[1:]] == [0, 1]
    assert queues[2].take() is None
    device = queues[1].take()
    assert device is not None
    (device,) = device
    queues[1].leave()
    assert queues[2].ahead() == 0 and queues[2].take() is None  # its turn, but the device is in use
    os.close(device)
    last = queues[2].take()
    assert last is not None
    for fd in (fds[1], fds[2], *last):
        os.close(fd)


@pytest.mark.parametrize(
    ("device", "visible", "key"),
    [
        ("cpu", None, "cpu"),
        ("cuda", None, "cuda-0"),
        ("cuda:1", None, "cuda-1"),
        ("cuda:1", "2,3", "cuda-3"),
        ("cuda", "GPU-8f", "cuda-GPU-8f"),
        ("auto", "", "cpu"),
    ],
)
def test_a_device_has_one_name(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None, key: str
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device_key(device) == key


def test_runs_are_read_without_torch() -> None:
    script = (
        "import sys, saetui.runs.follow, saetui.runs.launcher, saetui.runs.context, saetui.runs.worker;"
        "import saetui.commands.runs, saetui.commands.watch, saetui.commands.stop, saetui.commands.resume;"
        "print([m for m in ('torch', 'numpy', 'textual', 'rich.table', 'safetensors') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(shown) == []
