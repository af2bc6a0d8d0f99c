"""Runs judged from the shell, end to end: real files, the synthetic world's language model, known SAEs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result

from saetui.cli import cli
from saetui.corpus.grammar import SyntheticRows
from saetui.errors import UsageError, UserError
from saetui.runs.store import Run, create_run
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAE, SAEMetadata
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.grafting.graft import Graft
from saetui.split.judging.review import read_review
from saetui.split.outcome import criteria_for, open_outcome
from saetui.split.recipe import GraftRecipe, SplitRecipe
from tests.labelled import CRITERIA_FILE, HYPHEN, LM_FOLDER, SPLIT, fitted, narrow

METADATA = SAEMetadata(hook_name="blocks.0.hook_mlp_out")
TOKENS = ("--tokens", "12000")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows of tokens and the narrow SAE, as a person could have them."""
    folder = tmp_path_factory.mktemp("data")
    rows = SyntheticRows("train").read(0, 12_800).astype(np.int32)
    pq.write_table(pa.table({"tokens": list(rows)}), folder / "rows.parquet")
    save_saelens(replace(narrow(), metadata=METADATA), folder / "narrow")
    return folder


@pytest.fixture
def setup(place: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Relative paths, from the folder where the run is launched."""
    monkeypatch.chdir(place)
    return Setup(str(LM_FOLDER), "blocks.0.hook_mlp_out", "narrow", "rows.parquet", 48, "cpu")


def split_run(setup: Setup, sae: SAE, **recipe: object) -> Run:
    run = create_run(runs_root(), "split", setup, SplitRecipe(threshold=0.0, d_sae=sae.d_sae, **recipe))  # type: ignore[arg-type]
    save_saelens(replace(sae, metadata=METADATA), run.folder / "sae")
    return run


def shell(*args: str) -> Result:
    result = CliRunner().invoke(cli, list(args))
    if result.exception and not isinstance(result.exception, (UserError, SystemExit)):
        raise result.exception
    return result


def test_a_wide_run(setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = split_run(setup, fitted(*SPLIT), init="random")
    monkeypatch.chdir(tmp_path)  # what is relative counts from where the run was launched
    said = shell("judge", run.id, "--criteria", str(CRITERIA_FILE), *TOKENS)
    assert said.stdout.splitlines()[-1] == "3 of 3 children  (verdict: judge)"
    assert "judging" in said.stderr
    review = read_review(run.folder)
    assert review.judgement is not None
    assert [child.feature for child in review.judgement.children] == [0, 1, 2]
    assert (run.folder / "criteria.toml").read_bytes() == CRITERIA_FILE.read_bytes()
    # The run's own criteria from now on.
    again = json.loads(shell("judge", run.id, "--json", *TOKENS).stdout)
    assert (again["passed"], again["judgement"]["source"]) == (3, str(run.folder / "criteria.toml"))
    assert "**" not in shell("export", run.id).stdout


def test_a_target_that_still_leads(setup: Setup) -> None:
    """Narrow initialisation keeps the target's index, and here the target itself."""
    leading = fitted(HYPHEN, *SPLIT)
    leading = replace(leading, W_enc=leading.W_enc * torch.tensor([2.0, 1, 1, 1, 1]))
    run = split_run(setup, leading, init="narrow")
    assert open_outcome(run).inherited == 0
    said = shell("judge", run.id, "--criteria", str(CRITERIA_FILE), *TOKENS).stdout
    assert "the target itself (0) at" in said
    assert said.splitlines()[-1].startswith("0 of 3 children; no feature of its own for count (criterion 1)")


def test_where_the_target_is() -> None:
    def inherited(**recipe: object) -> int | None:
        setup = Setup("synthetic", device="cpu")
        made = create_run(runs_root(), "split", setup, SplitRecipe(target=3, d_sae=8, **recipe))  # type: ignore[arg-type]
        sae = SAE(torch.zeros(2, 8), torch.zeros(8), torch.ones(8, 2), torch.zeros(2))
        save_saelens(sae, made.folder / "sae")
        return open_outcome(made).inherited

    assert inherited(init="random") is None
    assert inherited(init="narrow") == 3
    assert inherited(init="narrow_reset") == 3
    assert inherited(init="narrow", loss="target_zeroed") is None
    assert inherited(init="random", loss="residual") is None


def test_a_graft(setup: Setup) -> None:
    children = fitted(*SPLIT)
    # A graft's encoder reads x - b_dec of its narrow SAE, which is the same mean here.
    graft = Graft(narrow(), 0, 0.0, children.W_enc, children.b_enc, children.W_dec)
    run = create_run(runs_root(), "graft", setup, GraftRecipe(threshold=0.0))
    graft.save(run.folder / "graft")
    said = json.loads(shell("judge", run.id, "--criteria", str(CRITERIA_FILE), "--json", *TOKENS).stdout)
    assert (said["passed"], said["children"]) == (3, 3)
    assert [child["feature"] for child in said["judgement"]["children"]] == [1, 2, 3]
    report = json.loads(shell("judge", run.id, "--report", "--json", *TOKENS).stdout)["report"]
    assert (report["kind"], sorted(child["feature"] for child in report["children"])) == (
        "split",
        [1, 2, 3, 4],
    )


def test_without_criteria_the_report_speaks(setup: Setup) -> None:
    run = split_run(setup, fitted(*SPLIT), init="random")
    assert criteria_for(run) is None
    said = shell("judge", run.id, *TOKENS)
    assert "no criteria file fits" in said.stderr
    assert said.stdout.startswith("feature 0: split: ")
    assert "told by previous " in said.stdout
    assert read_review(run.folder).judgement is None


def test_limits_of_the_report(setup: Setup, isolated_places: Path) -> None:
    """Named on the command line, else in the settings; the report that is exported names them."""
    run = split_run(setup, fitted(*SPLIT), init="random")

    def report(*options: str) -> dict[str, Any]:
        return json.loads(shell("judge", run.id, "--report", "--json", *TOKENS, *options).stdout)["report"]

    (isolated_places / "settings.toml").write_text("[limits]\nrecall = 0.3\nlost = 0.9\n")
    by_settings = report()
    assert all(child["recall"] > 0.25 for child in by_settings["children"])
    assert (by_settings["kind"], by_settings["limits"]["recall"]) == ("lost", 0.3)
    assert by_settings["funnel"]["recalled"] == len(by_settings["children"])
    by_hand = report("--limit", "recall=0.05", "--limit", "effective=9")
    assert (by_hand["kind"], by_hand["limits"]["lost"]) == ("partly", 0.9)
    exported = shell("export", run.id).stdout
    assert "| effective | 9.0 |" in exported
    assert "4 have recall ≥ 0.05" in exported
    for wrong, message in (("recall", "write NAME=NUMBER"), ("recal=1", "did you mean 'recall'")):
        said = shell("judge", run.id, "--report", "--limit", wrong)
        assert isinstance(said.exception, UsageError)
        assert message in str(said.exception)
    (isolated_places / "settings.toml").write_text("[limits]\nrecal = 0.3\n")
    assert "settings.toml: [limits]: unknown key 'recal'" in str(shell("judge", run.id).exception)


def test_criteria_of_the_model(tmp_path: Path) -> None:
    def criteria(model: str, target: int):
        return criteria_for(create_run(runs_root(), "split", Setup(model), SplitRecipe(target=target)))

    shipped = criteria("gelu-1l", 240)
    assert shipped is not None and shipped.name == "the hyphen of gelu-1l"
    assert criteria("gelu-1l", 7) is None
    assert criteria("pythia-70m", 240) is None


def test_bad_input(setup: Setup) -> None:
    queued = create_run(runs_root(), "split", setup, SplitRecipe())
    early = shell("judge", queued.id, "--criteria", str(CRITERIA_FILE))
    assert isinstance(early.exception, UserError)
    assert "has left no sae yet" in str(early.exception)
    wrong = shell("judge", queued.id, "--criteria", "nowhere.toml")
    assert isinstance(wrong.exception, UsageError)
    assert "cannot read criteria nowhere.toml" in str(wrong.exception)
    other = split_run(setup, SAE(torch.zeros(3, 2), torch.zeros(2), torch.ones(2, 3), torch.zeros(3)))
    misfit = shell("judge", other.id, "--criteria", str(CRITERIA_FILE))
    assert isinstance(misfit.exception, UsageError)
    assert "width 3" in str(misfit.exception)
    assert not list(runs_root().glob("*/judgements.jsonl"))
