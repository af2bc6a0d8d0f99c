"""Verdicts on disk: the judge's reading, a person's answers over it, the shell's commands, the export."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from saetui.cli import cli
from saetui.errors import UsageError
from saetui.features.results import Context, FeatureActivation
from saetui.runs.journal import Journal
from saetui.runs.status import status
from saetui.runs.store import Run, create_run
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.judging.review import Review, read_review, store_answers, store_judgement
from saetui.split.judging.verdict import (
    ChildVerdict,
    CriterionResult,
    Evidence,
    Judgement,
    PromptReading,
    ReadContext,
    ReadLogit,
)
from saetui.split.recipe import GraftRecipe, SplitRecipe


def child(name: str, feature: int | None, *passed: bool) -> ChildVerdict:
    context = Context(3, 7, 2, [" was", " multi", "-", "part"], [0.0, 0.0, 4.5, 0.0])
    probe = PromptReading("I'm a multi«-»millionaire", 5.31, [FeatureActivation(1043, 5.31)])
    evidence = {
        1: Evidence("1043 at 5.31, then feature 77, at 2.02", prompts=[probe]),
        2: Evidence("of its 1 strongest distinct tokens", contexts=[ReadContext(context, True, True)]),
        3: Evidence("1 of its 2", logits=[ReadLogit(" part", 1.5, True), ReadLogit("\n", 1.0, False)]),
        4: Evidence("silent on all of them"),
    }
    numbers = {1: 0.62, 2: 1.0, 3: 0.5, 4: 0.0}
    limits = {1: 0.1, 2: 0.5, 3: 0.2, 4: 0.3}
    return ChildVerdict(
        name,
        feature,
        [CriterionResult(n, numbers[n], limits[n], passed[n - 1], evidence[n]) for n in (1, 2, 3, 4)],
    )


JUDGEMENT = Judgement(
    "wide SAE of x",
    "the hyphen",
    "",
    "",
    "-",
    100_000,
    "real",
    [child("count", 1043, True, True, True, True), child("long one", 5, True, False, True, False)],
)


def test_the_judge_alone(tmp_path: Path) -> None:
    assert read_review(tmp_path).result_line() == "not judged"
    store_judgement(tmp_path, JUDGEMENT)
    review = read_review(tmp_path)
    assert review.judgement == JUDGEMENT
    assert (review.passed, review.by) == (1, "judge")
    assert review.result_line() == "1 of 2 children; no feature of its own for long one (criteria 2, 4)"


def test_a_person_overrules_and_takes_it_back(tmp_path: Path) -> None:
    store_judgement(tmp_path, JUDGEMENT)
    review = read_review(tmp_path)
    store_answers(
        tmp_path, [review.answer("long one", 2, True, "I see it"), review.answer("long one", 4, True)]
    )
    review = read_review(tmp_path)
    assert (review.passed, review.by, review.result_line()) == (2, "judge and person", "2 of 2 children")
    answer = review.answers["long one", 2]
    assert (answer.feature, answer.number, answer.note) == (5, 1.0, "I see it")
    store_answers(tmp_path, [review.answer("long one", 4, None)])
    review = read_review(tmp_path)
    assert review.passed == 1
    assert review.result_line().endswith("long one (criterion 4)")
    # Both the judge's record and all three answers are still there.
    assert len((tmp_path / "judgements.jsonl").read_text().splitlines()) == 4


def test_an_answer_is_about_the_feature_that_was_shown(tmp_path: Path) -> None:
    store_judgement(tmp_path, JUDGEMENT)
    store_answers(tmp_path, [read_review(tmp_path).answer("count", 1, False)])
    assert read_review(tmp_path).passed == 0
    other = replace(JUDGEMENT, children=[child("count", 9, True, True, True, True)])
    store_judgement(tmp_path, other)
    assert (read_review(tmp_path).passed, read_review(tmp_path).answers) == (1, {})
    store_judgement(tmp_path, JUDGEMENT)  # the same feature again
    assert read_review(tmp_path).passed == 0


def test_everything_answered_is_a_persons_verdict(tmp_path: Path) -> None:
    store_judgement(tmp_path, JUDGEMENT)
    review = read_review(tmp_path)
    store_answers(tmp_path, [review.answer(c, n, True) for c in ("count", "long one") for n in (1, 2, 3, 4)])
    assert read_review(tmp_path).by == "person"


def test_one_who_cannot_tell_has_answered_and_the_judge_stands(tmp_path: Path) -> None:
    store_judgement(tmp_path, JUDGEMENT)
    review = read_review(tmp_path)
    store_answers(
        tmp_path, [review.answer("count", 1, False), review.answer("long one", 2, None, unsure=True)]
    )
    review = read_review(tmp_path)
    assert review.answers["long one", 2].unsure and not review.holds("long one", 2)
    assert review.by == "judge and person"
    store_answers(tmp_path, [review.answer("long one", 2, None)])
    assert ("long one", 2) not in read_review(tmp_path).answers


def test_answers_to_what_is_not_there() -> None:
    review = Review(JUDGEMENT)
    with pytest.raises(UsageError, match="no child 'digit' in the judgement: there are 'count', 'long one'"):
        review.answer("digit", 1, True)
    with pytest.raises(UsageError, match=r"no criterion 5 for .*: there are 1, 2, 3, 4"):
        review.answer("count", 5, True)
    with pytest.raises(UsageError, match="not been judged"):
        Review().answer("count", 1, True)


def test_a_torn_journal_loses_nothing_finished(tmp_path: Path) -> None:
    store_judgement(tmp_path, JUDGEMENT)
    path = tmp_path / "judgements.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    assert read_review(tmp_path).judgement == JUDGEMENT
    store_answers(tmp_path, [read_review(tmp_path).answer("count", 1, False)])
    assert read_review(tmp_path).passed == 0


def test_the_criteria_are_kept_with_the_verdict(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "mine.toml"
    run.mkdir()
    elsewhere.write_text("name = 'x'\n")
    digest = hashlib.sha256(elsewhere.read_bytes()).hexdigest()
    store_judgement(run, replace(JUDGEMENT, source=str(elsewhere), sha256=digest))
    assert (run / "criteria.toml").read_text() == "name = 'x'\n"
    elsewhere.write_text("name = 'changed since'\n")
    store_judgement(run, replace(JUDGEMENT, source=str(elsewhere), sha256=digest))
    assert (run / "criteria.toml").read_text() == "name = 'x'\n"


# --- the shell ----------------------------------------------------------------------------------------


@pytest.fixture
def run() -> Run:
    recipe = SplitRecipe(target=41, d_sae=2048)
    made = create_run(runs_root(), "split", Setup(), recipe, note="a | try")
    with Journal(made.metrics_path) as metrics:
        metrics.append(tokens=1000, loss=9.0, fvu=0.9)
        metrics.append(tokens=3000, loss=99.0)
        metrics.append(kind="resumed", tokens=1000)
        metrics.append(tokens=2000, loss=8.0, fvu=0.8)
        metrics.append(eval=True, tokens=2000, fvu=0.75, l0=12.0, ce_recovered=0.9)
    (made.folder / "sae").mkdir()
    (made.folder / "sae" / "cfg.json").write_text("{}")
    return made


def shell(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args))


def test_show_and_overrule(run: Run) -> None:
    early = shell("judge", run.id, "--show")
    assert isinstance(early.exception, UsageError)
    assert "has not been judged yet" in str(early.exception)
    store_judgement(run.folder, JUDGEMENT)
    assert status(run).verdict == "(1 of 2)"
    shown = shell("judge", run.id, "--show")
    assert shown.exit_code == 0
    for line in (
        "count: feature 1043, ✓ passed",
        "long one: feature 5, ✗ failed",
        "margin 0.62 ≥ 0.10 ✓ pass",
        "I'm a multi«-»millionaire",
        "✓ 4.50 was multi«-»part",
        "✓ ·part · ↵",
        "1 of 2 children; no feature of its own for long one (criteria 2, 4) (verdict: judge)",
    ):
        assert line in " ".join(shown.stdout.split())
    said = shell(
        "judge", run.id, "--overrule", "long one:2=y", "--overrule", "long one:4=y", "--note", "seen"
    )
    assert "2 of 2 children  (verdict: judge and person)" in said.stdout
    assert status(run).verdict == "(2 of 2)"
    assert "(overruled by a person: seen)" in said.stdout
    assert "1 of 2" in shell("judge", run.id, "--overrule", "long one:4=?").stdout


def test_confirm_as_json(run: Run) -> None:
    store_judgement(run.folder, JUDGEMENT)
    said = json.loads(shell("judge", run.id, "--yes", "--json").stdout)
    assert (said["run"], said["by"], said["passed"], said["children"]) == (run.id, "person", 1, 2)
    assert said["holds"]["long one"] == {"1": True, "2": False, "3": True, "4": False}
    assert len(said["answers"]) == 8
    assert said["judgement"]["children"][0]["criteria"][0]["number"] == 0.62


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("count", "--overrule 'count': write CHILD:CRITERION=y, n or ?"),
        ("count:1=maybe", "write CHILD:CRITERION"),
        ("count:one=y", "write CHILD:CRITERION"),
        ("digit:1=y", "no child 'digit'"),
        ("count:7=y", "no criterion 7"),
    ],
)
def test_bad_words_store_nothing(run: Run, word: str, says: str) -> None:
    store_judgement(run.folder, JUDGEMENT)
    said = shell("judge", run.id, "--overrule", "count:1=n", "--overrule", word)
    assert isinstance(said.exception, UsageError)
    assert says in str(said.exception)
    assert read_review(run.folder).answers == {}


def test_export(run: Run, tmp_path: Path) -> None:
    store_judgement(run.folder, JUDGEMENT)
    values = json.loads(shell("export", run.id, "--format", "json").stdout)
    assert values["recipe"]["d_sae"] == 2048
    assert values["curve"]["records"] == 2  # what the resume took back is no part of the curve
    assert values["curve"]["last"]["loss"] == 8.0
    assert values["curve"]["evaluations"] == [{"tokens": 2000, "fvu": 0.75, "l0": 12.0, "ce_recovered": 0.9}]
    assert values["verdict"]["result"].startswith("1 of 2 children")
    file = values["files"][0]
    assert (file["path"], file["bytes"], file["sha256"]) == (
        "sae/cfg.json",
        2,
        hashlib.sha256(b"{}").hexdigest(),
    )
    assert values["versions"]["saetui"]

    out = tmp_path / "run.md"
    assert shell("export", run.id, "--output", str(out)).stdout == ""
    text = out.read_text()
    assert text.startswith(f"# {run.id}: split of feature 41\n\na | try\n")
    for part in (
        "| d_sae | 2048 |",
        "| fvu | 0.8 |",
        "I'm a multi«-»millionaire",
        "| sae/cfg.json | 2 |",
        "1 of 2 children",
    ):
        assert part in text
    failed = shell("export", run.id, "--output", str(tmp_path / "no" / "where.md"))
    assert "cannot write" in str(failed.exception)


def test_export_of_a_run_that_did_nothing_yet() -> None:
    run = create_run(runs_root(), "graft", Setup(), GraftRecipe(target=3))
    text = shell("export", run.id).stdout
    assert "Verdict: not judged." in text
    assert "| children | 32 |" in text
