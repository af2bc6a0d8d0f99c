"""Studies carried out by real processes: resumed after any death, with failures that do not spread."""

import csv
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner, Result

from saetui.cli import cli
from saetui.errors import UsageError, UserError
from saetui.runs.store import Run, list_runs
from saetui.settings import runs_root
from saetui.split.judging.review import read_review
from saetui.studies.launcher import start
from saetui.studies.report import study_report
from saetui.studies.status import StudyStatus, study_status
from saetui.studies.store import Study, find_study
from tests.runs_support import eventually, kill_workers, worker_pid
from tests.studies_support import FAILS, saved, use_test_processes, write

ROWS = """
[axes]
seed = [1, 2, 3]
"""


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    for study in (found for found in map(Study, (runs_root() / "studies").glob("*")) if found.alive()):
        os.kill(conductor_pid(study), signal.SIGKILL)
    kill_workers(runs_root())


def conductor_pid(study: Study) -> int:
    """The process whose command line names the study's folder."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        if str(study.folder).encode() in place.read_bytes() and int(place.parent.name) != os.getpid():
            return int(place.parent.name)
    raise AssertionError("no process works for the study")


def states(study: Study) -> list[str]:
    return [cell.state for cell in study_status(study).cells]


def ended(study: Study) -> StudyStatus:
    eventually(lambda: not study.alive())
    return study_status(study)


def weights(run: Run) -> torch.Tensor:
    return safetensors.torch.load_file(run.folder / "final.safetensors")["weight"]


def saetui(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_killed_anywhere_it_goes_on_and_ends_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_test_processes(monkeypatch)
    whole = saved(write(tmp_path, ROWS, "whole.toml"), tokens=1500, checkpoint_every=300)
    study = saved(write(tmp_path, ROWS, "killed.toml"), tokens=1500, checkpoint_every=300)
    assert start(study) and not start(study)  # one process at a time

    eventually(lambda: study.runs() and any(run.read_metrics() for run in study.runs().values()))
    os.kill(conductor_pid(study), signal.SIGKILL)
    eventually(lambda: not study.alive())
    (first,) = study.runs().values()
    assert first.state() == "running"  # it goes on without
    eventually(lambda: list(first.checkpoints.iterdir()))
    os.kill(worker_pid(first), signal.SIGKILL)
    eventually(lambda: not first.alive())
    assert states(study) == ["crashed", "waiting", "waiting"]
    told = saetui("study", "status", "killed")
    assert "`saetui study run killed` goes on with it" in told.stderr and "ETA" not in told.stdout

    assert start(study, at_once=2)
    assert "crashed" not in states(study)  # it waits for its turn again
    status = ended(study)
    assert (status.state, states(study)) == ("finished", ["finished"] * 3)
    ids = study.run_ids()
    assert len(list_runs(runs_root())) == 3 and first.id in ids.values()  # nothing was begun twice
    assert any(event["kind"] == "resumed" for event in first.read_events())

    assert start(study) and ended(study).finished == 3  # nothing to do, and nothing is done
    assert study.run_ids() == ids and len(list_runs(runs_root())) == 3

    assert start(whole, at_once=3)
    ended(whole)
    for cell, run in study.runs().items():
        assert torch.equal(weights(run), weights(whole.runs()[cell])), cell


def test_a_cell_that_fails_is_told_and_tried_again_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_test_processes(monkeypatch)
    path = write(tmp_path, f"[axes]\nseed = [{FAILS}, 2]\n")
    told = saetui("study", "run", str(path), "--at-once", "2", "--set", "tokens=500")
    assert told.exit_code == 1
    assert f"recipe.f49.s{FAILS} (" in told.stderr and "RuntimeError: the loss is not a number" in told.stderr
    assert "1 of 2 finished · 1 failed" in told.stderr
    study = find_study(runs_root(), "tiny")
    assert states(study) == ["failed", "finished"]
    notes = {run.manifest.note for run in list_runs(runs_root())}
    assert notes == {f"tiny: recipe.f49.s{FAILS}", "tiny: recipe.f49.s2"}

    (runs_root() / "mend").touch()
    again = saetui("study", "run", "tiny")
    assert again.exit_code == 0 and "2 of 2 finished" in again.stderr
    assert len(list_runs(runs_root())) == 2


def test_stopped_changed_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_test_processes(monkeypatch)
    path = write(tmp_path, ROWS)
    name = saetui("study", "run", str(path), "--detach").stdout.strip()
    study = find_study(runs_root(), name)
    eventually(lambda: "running" in states(study))
    refused = saetui("study", "run", str(path), "--set", "tokens=500", "--detach")
    assert isinstance(refused.exception, UserError) and "saetui study stop tiny" in str(refused.exception)
    stopped = saetui("study", "stop", name)
    assert stopped.exit_code == 0 and "tiny is stopped" in stopped.stderr
    assert states(study) == ["stopped", "waiting", "waiting"]
    assert isinstance(saetui("study", "stop", name).exception, UserError)

    # Other tokens are other runs; what is as it was keeps its run.
    first = study.run_ids()["recipe.f49.s1"]
    assert saetui("study", "run", str(path), "--set", "tokens=300").exit_code == 0
    assert first not in study.run_ids().values()
    assert {run.manifest.recipe["tokens"] for run in study.runs().values()} == {300}
    status = json.loads(saetui("study", "status", "tiny", "--json").stdout)
    assert (status["state"], len(status["cells"])) == ("finished", 3)


def test_files_are_listed_shown_and_planned_without_being_run(tmp_path: Path) -> None:
    listed = saetui("study", "list").stdout
    assert all(name in listed for name in ("seed-table", "matrix", "replacing"))
    shown = saetui("study", "show", "seed-table").stdout
    (tmp_path / "own.toml").write_text(shown)
    for name in ("seed-table", str(tmp_path / "own.toml")):
        planned = saetui("study", "run", name, "--model", "synthetic", "--set", "tokens=2048", "--dry-run")
        assert planned.stdout.splitlines()[8] == "9.f49.s43  2.05k tokens"
    assert not runs_root().exists()
    for wrong, said in (
        ("tokns=3", "--set: unknown key 'tokns'; did you mean 'tokens'?"),
        ("tokens", "write KEY=VALUE"),
    ):
        error = saetui("study", "run", "matrix", "--model", "synthetic", "--set", wrong).exception
        assert isinstance(error, UsageError) and said in str(error)
    assert "no study 'nothing'" in str(saetui("study", "report", "nothing").exception)
    assert "cannot read the study nothing" in str(saetui("study", "run", "nothing").exception)


def test_a_study_trained_judged_and_reported(tmp_path: Path) -> None:
    """The whole way on the synthetic world, against the runs' own records."""
    path = write(
        tmp_path,
        '[[row]]\nname = "filtered"\ninit = "narrow"\ndata = "filtered"\n'
        '[[row]]\nname = "all"\ninit = "random"\ndata = "all"\n[axes]\nseed = [1]\n',
    )
    done = saetui("study", "run", str(path))
    assert done.exit_code == 0, done.stderr
    study = find_study(runs_root(), "tiny")
    report = study_report(study)
    for cell, run in zip(report.cells, study.runs().values(), strict=True):
        last = [record for record in run.read_metrics() if record.get("eval")][-1]
        assert (cell.fvu, cell.l0, cell.ce_recovered) == (last["fvu"], last["l0"], last["ce_recovered"])
        assert cell.f1 == {child["child"]: child["f1"] for child in last["children"]}
        assert set(cell.f1) == {"count", "adjective", "number"}
        assert cell.cost and cell.cost.tokens == 8192 and cell.cost.wall_s
        assert cell.cost.tokens_read == cell.cost.tokens_computed == last["tokens_read"] > 4096
        assert cell.children == 3 and cell.run == run.id and cell.by == "judge"
        judged = read_review(run.folder).judgement
        assert judged and cell.failed == {
            n: sum(not child.criteria[n - 1].passed for child in judged.children) for n in (1, 2, 3, 4)
        }
    assert [len(curve.points) for curve in report.curves] == [3, 3]  # before, at half, at the end
    assert {(r.data, r.init) for r in report.filtering} == {("filtered row", "narrow"), ("all", "random")}
    assert [point.passed for curve in report.curves for point in curve.points[:1]] == [None, None]
    assert all(c.points[-1].passed == r.passed for c, r in zip(report.curves, report.cells, strict=True))
    assert {r.row for r in report.replacing} == {"filtered"} and all(r.led == 1 for r in report.replacing)

    rows = list(csv.DictReader(io.StringIO(saetui("study", "report", "tiny", "--csv").stdout)))
    assert [row["cell"] for row in rows] == ["filtered.f49.s1", "all.f49.s1"]
    assert float(rows[0]["fvu"]) == report.cells[0].fvu
    table = saetui("study", "report", "tiny").stdout
    assert "What the filter buys" in table and "The replacing of the target" in table
    assert (
        "| filtered | 128 | 1 | narrow | yes | filtered row |"
        in saetui("study", "report", "tiny", "--markdown").stdout
    )
    assert json.loads(saetui("study", "report", "tiny", "--json").stdout)["cells"][0]["fvu"] == float(
        rows[0]["fvu"]
    )
    said = saetui("replacing", report.cells[0].run or "").stdout
    assert "It was a multi-" in said and "at first at 0 tokens (step 0): 49 with" in said
