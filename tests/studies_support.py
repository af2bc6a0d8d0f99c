"""What the tests of studies share: small study files for the synthetic world, and processes of their own."""

import sys
from pathlib import Path

import pytest

from saetui.loading import load_sae
from saetui.runs import launcher, worker
from saetui.runs.context import RunContext
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.studies import conductor
from saetui.studies.cells import Cell
from saetui.studies.file import load_study_file
from saetui.studies.grid import expand
from saetui.studies.store import FOLDER, Plan, Study, save_study
from tests.runs_support import fit

TINY = """
title = "tiny"
[setup]
model = "synthetic"
device = "cpu"
[recipe]
d_sae = "2x"
tokens = 8192
batch_size = 1024
buffer_tokens = 4096
granularity = "row"
eval_every = "50%"
loss = "standard"
"""
SETUP = Setup("synthetic", device="cpu")
FAILS = 13
"""The seed with which ``train`` fails."""


def write(folder: Path, text: str = "", name: str = "tiny.toml") -> Path:
    """A study file: ``TINY`` and ``text``."""
    path = folder / name
    path.write_text(TINY + text)
    return path


def cells_of(path: Path, **given: int) -> list[Cell]:
    return expand(load_study_file(path), SETUP, given, load_sae(SETUP))


def saved(path: Path, **given: int) -> Study:
    """The study of a file, with nothing of it done."""
    file = load_study_file(path)
    study = Study(runs_root() / FOLDER / path.stem)
    save_study(study, file, Plan.of(file, SETUP, cells_of(path, **given)))
    return study


def use_test_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies started from here train with ``train`` and are judged in a moment."""
    monkeypatch.setattr("saetui.studies.launcher.CONDUCTOR", __name__)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))


def train(context: RunContext) -> None:
    """The small real training of ``runs_support``, that fails with one seed as long as no file ``mend`` lies
    beside the runs."""
    if context.manifest.recipe["seed"] == FAILS and not (context.run.root / "mend").exists():
        raise RuntimeError("the loss is not a number")
    fit(context)


def judge_at_once(run: object, lm: object, report: bool) -> object:
    """In the place of the judge, which needs an SAE: the word that says that it came by."""
    assert isinstance(run, conductor.Run)
    (run.folder / "split-report.json").write_text('{"kind": "split"}')
    return lm


if __name__ == "__main__":
    if (Path(sys.argv[1]) / "manifest.json").exists():
        worker.TRAINERS["split"] = "tests.studies_support:train"
        sys.exit(worker.main())
    launcher.WORKER = "tests.studies_support"
    conductor.judge_cell = judge_at_once  # type: ignore[assignment]
    sys.exit(conductor.main())
