"""Runs deleted for good: what is said before, what is refused, and what others see meanwhile."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from saetui.cli import cli
from saetui.deleting import losses, total
from saetui.errors import UserError
from saetui.runs.launcher import claim, launch, resume
from saetui.runs.store import list_runs, remove_run
from saetui.settings import runs_root
from saetui.split.judging.review import read_review, store_answers
from saetui.studies.status import study_status
from tests.runs_support import new_run
from tests.tui.fabricate import FakeRun
from tests.tui.fabricate_study import FakeStudy


def saetui(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["delete", *arguments])


def test_what_is_lost_is_told_and_only_yes_deletes() -> None:
    study = FakeStudy(runs_root())
    judged = study.finished("narrow.f240.s1", 0).run
    review = read_review(judged.folder)
    assert review.judgement
    store_answers(judged.folder, [review.answer(review.judgement.children[0].child, 1, True)])
    paused = FakeRun(runs_root(), "1122-0911-f240-xyz").begin().finish("paused").run
    (paused.folder / "checkpoints" / "weights").write_bytes(b"x" * 2_000_000)

    listed = saetui(judged.id, "xyz", paused.id)
    assert listed.exit_code == 0 and len(list_runs(runs_root())) == 2
    first, second = listed.stdout.splitlines()  # one that is named twice is one
    assert first.startswith(f"{judged.id}: ") and "verdict (2 of 2)" in first
    assert "1 answer of yours" in first and "a run of the study reliable" in first
    assert second == f"{paused.id}: 1.91 MiB"
    assert "nothing is deleted: --yes deletes 2 runs, 1.9" in listed.stderr
    assert [loss["id"] for loss in json.loads(saetui(paused.id, "--json").stdout)] == [paused.id]

    assert "deleted: 1 run, 1.91 MiB" in saetui("xyz", "--yes").stderr
    assert saetui(judged.id, "--yes").exit_code == 0
    assert list_runs(runs_root()) == [] and not list(runs_root().glob(".removed-*"))
    cell = study_status(study.study).cells[0]
    assert (cell.state, cell.run, cell.message) == ("waiting", None, None)


def test_nothing_goes_where_a_process_works_for_one_of_them(tmp_path: Path) -> None:
    runs = [new_run(tmp_path, "split") for _ in range(2)]
    fd = claim(runs[1])
    with pytest.raises(UserError, match=f"{runs[1].id} is queued: it can be deleted once it is stopped"):
        losses(runs)
    with pytest.raises(UserError, match="saetui stop"):
        remove_run(runs[1])
    os.close(fd)
    assert total(losses(runs)).startswith("2 runs, ")


def test_two_who_delete_one_run_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(tmp_path, "split")
    alive = type(run).alive

    def deleted_meanwhile(one: object) -> bool:
        monkeypatch.setattr(type(run), "alive", alive)
        remove_run(run)
        return False

    monkeypatch.setattr(type(run), "alive", deleted_meanwhile)
    with pytest.raises(UserError, match=f"{run.id} is there no more"):
        remove_run(run)
    assert list(tmp_path.iterdir()) == []


def test_who_would_resume_it_while_it_goes_finds_it_at_work_or_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path, "split")
    rename, said = Path.rename, []

    def resumed_meanwhile(folder: Path, to: Path) -> Path:
        with pytest.raises(UserError) as refused:
            launch(run)
        said.append(str(refused.value))
        return rename(folder, to)

    monkeypatch.setattr(Path, "rename", resumed_meanwhile)
    remove_run(run)
    assert "at work already" in said[0]
    with pytest.raises(UserError, match=f"{run.id} is there no more"):
        resume(run)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_deletion_leaves_no_half_run_and_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (new_run(tmp_path, "split") for _ in range(2))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("saetui.runs.store.shutil.rmtree", killed)
        remove_run(first)
    assert list_runs(tmp_path) == [second] and list(tmp_path.glob(".removed-*"))
    remove_run(second)
    assert list(tmp_path.iterdir()) == []
