"""saetui runs, watch, stop, pause, resume, as a shell sees them."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from saetui import cli
from saetui.commands.progress import evaluation_lines, metrics_line
from saetui.errors import UserError
from saetui.quantities import duration, si
from saetui.runs.journal import Journal
from saetui.runs.launcher import launch, survives_logout
from saetui.runs.store import Run, list_runs
from saetui.settings import runs_root
from tests.runs_support import BATCH, eventually, exec_on_terminal, kill_workers, new_run, use_test_worker


@pytest.fixture(autouse=True)
def workers_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_test_worker(monkeypatch)
    yield
    kill_workers(runs_root())


def saetui(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, arguments)


def reported(run: Run) -> bool:
    return bool(run.read_metrics())


def test_a_run_is_listed_watched_stopped_resumed_paused_and_removed() -> None:
    assert "no runs in" in saetui("runs").stderr
    run = new_run(runs_root(), "count")
    launch(run)
    eventually(lambda: reported(run))
    (row,) = json.loads(saetui("runs", "--json").stdout)
    assert (row["id"], row["state"], row["target"]) == (run.id, "running", 41)

    stopped = saetui("stop", run.id[-3:])
    assert stopped.exit_code == 0 and f"{run.id} is stopped; `saetui resume {run.id}`" in stopped.stderr
    assert run.state() == "stopped"
    again = saetui("stop", run.id)
    assert isinstance(again.exception, UserError) and "nothing to stop" in str(again.exception)

    assert json.loads(saetui("resume", run.id, "--json").stdout)["state"] in ("queued", "running")
    assert "at work already" in str(saetui("resume", run.id).exception)
    assert "once it is stopped" in str(saetui("delete", run.id).exception)
    paused = json.loads(saetui("pause", run.id, "--json").stdout)
    assert paused["state"] == "paused"
    watched = saetui("watch", run.id)
    assert watched.exit_code == 3 and "is paused" in watched.stderr

    listed = saetui("runs").stdout
    assert run.id in listed and "paused" in listed and "filtered row" in listed
    assert saetui("delete", run.id, "--yes").exit_code == 0
    assert list_runs(runs_root()) == []


def test_watching_a_finished_run_shows_it_and_tells_how_it_ended() -> None:
    run = new_run(runs_root(), "count", tokens=300)
    launch(run)
    watched = saetui("watch", run.id)
    assert watched.exit_code == 0
    assert "300 of 300 (100%)  loss 0.003333" in watched.stdout
    assert f"{run.id} has finished: `saetui judge {run.id}`" in watched.stderr
    assert len(watched.stdout.splitlines()) < 10  # not a line per record
    records = [json.loads(line) for line in saetui("watch", run.id, "--json").stdout.splitlines()]
    assert records[-1]["kind"] == "status" and records[-1]["status"]["state"] == "finished"
    assert sum("kind" not in record for record in records) == 300 // BATCH


def test_a_failed_run_is_exit_code_1_with_its_line() -> None:
    run = new_run(runs_root(), "fail")
    launch(run)
    watched = saetui("watch", run.id)
    assert watched.exit_code == 1
    assert "RuntimeError: the loss is" in watched.stdout
    assert f"{run.id} failed: RuntimeError" in saetui("runs").stderr


def test_on_a_terminal_one_line_is_kept_up_to_date_and_ctrl_c_leaves_the_run() -> None:
    run = new_run(runs_root(), "count")
    launch(run)
    eventually(lambda: reported(run))
    pid, terminal = pty.fork()
    if pid == 0:
        exec_on_terminal("-m", "saetui", "watch", run.id)
    shown = b""
    while shown.count(b"\r\x1b[2K") < 3:
        shown += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        shown += data
    _, code = os.waitpid(pid, 0)
    os.close(terminal)
    text = shown.decode()
    assert os.waitstatus_to_exitcode(code) == 130
    assert "of 1.00M" in text and f"`saetui watch {run.id}` comes back" in text
    lines = [line for line in re.split(r"\r\n", text) if "of 1.00M" in line]
    assert len(lines) == 1  # drawn over and over in one line
    assert run.state() == "running"
    saetui("stop", run.id)


def test_evaluations_and_probes_are_lines_of_their_own() -> None:
    record: dict[str, Any] = {
        "tokens": 1_500_000, "eval": True, "fvu": 0.2, "l0": 31.25, "ce_recovered": 0.937,
        "probes": [{"prompt": "a low-", "token": "-", "target": 0.5, "top": [[1034, 5.25], [7, 1.0]]}],
    }  # fmt: skip
    assert evaluation_lines(record) == [
        "evaluation at 1.50M:  FVU 0.200  L0 31.2  CE recovered 93.7%",
        "  'a low-'  target 0.50  | 1034: 5.25  7: 1.00",
    ]


def test_numbers_are_short() -> None:
    assert [si(n) for n in (0, 950, 12_345, 26_200_000)] == ["0", "950", "12.3k", "26.2M"]
    assert [duration(s) for s in (5, 187, 7500, 273_600)] == ["5s", "3m07s", "2h05m", "3d04h"]
    record = {"tokens": 5000, "loss": None, "tokens_per_s": 41_900.0, "eta_s": 12.0}
    assert metrics_line(record, 10_000) == "5.00k of 10.0k (50%)  41.9k tok/s  ETA 12s"
    assert metrics_line({"tokens": 5000, "loss": 0.125}, None) == "5.00k  loss 0.125"


def test_a_damaged_record_is_told() -> None:
    run = new_run(runs_root(), "count")
    with Journal(run.events_path) as events:
        events.append(kind="exit", state="failed", message="out of luck")
    with run.metrics_path.open("wb") as metrics:
        metrics.write(b'{"tokens": 10}\n{"tok\n{"tokens": 20}\n')
    watched = saetui("watch", run.id)
    assert "1 damaged record in metrics.jsonl left out" in watched.stdout
    assert "out of luck" in watched.stdout and watched.exit_code == 1


def test_what_ends_a_run_at_logout_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    real = Path.read_text

    def read_text(path: Path, *args: Any, **kwargs: Any) -> str:
        if str(path) == "/proc/self/cgroup":
            return f"0::{cgroup}\n"
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setenv("PATH", str(tmp_path))
    loginctl = tmp_path / "loginctl"

    cgroup = "/user.slice/user-1000.slice/session-12.scope"
    assert survives_logout() is None  # no logind to kill anything
    for answer, warns in (("no", False), ("yes", True)):
        loginctl.write_text(f"#!/bin/sh\necho {answer}\n")
        loginctl.chmod(0o755)
        line = survives_logout()
        assert ("systemd-run --user --scope" in str(line)) == warns
    cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope"
    assert survives_logout() is None
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert "SLURM job 77" in str(survives_logout())


def test_the_end_of_its_launcher_does_not_reach_the_run() -> None:
    run = new_run(runs_root(), "count")
    script = (
        "import sys; from saetui.runs import launcher; from saetui.runs.store import Run; import pathlib;"
        f"launcher.WORKER = 'tests.runs_support'; launcher.launch(Run(pathlib.Path({str(run.folder)!r})));"
        "sys.stdin.read()"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: reported(run))
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.communicate()
    at_kill = len(run.read_metrics())
    eventually(lambda: len(run.read_metrics()) > at_kill + 20)
    assert run.state() == "running"
    saetui("stop", run.id)
