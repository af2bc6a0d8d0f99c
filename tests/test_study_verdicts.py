"""Whether a run split its target, from what is stored with it: what a list of studies reads of a run."""

from pathlib import Path

import pytest

from saetui.runs.store import Run
from saetui.split.judging import review
from saetui.split.judging.review import Answer, store_answers, store_judgement
from saetui.split.judging.verdict import ChildVerdict, CriterionResult, Evidence, Judgement
from saetui.studies.verdicts import REPORT_FILE, is_judged, was_split


def judgement(*passed: bool) -> Judgement:
    children = [
        ChildVerdict(str(i), i, [CriterionResult(1, 0.5, 0.1, holds, Evidence(""))])
        for i, holds in enumerate(passed)
    ]
    return Judgement("wide", "mine", "none.toml", "0" * 64, "-", 100, "rows", children)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_without_a_verdict_nothing_is_known(run: Run) -> None:
    assert was_split(run) is None and not is_judged(run)
    (run.folder / REPORT_FILE).write_text("{")
    assert was_split(run) is None, "a report that cannot be read is none"


def test_the_report_says_where_nothing_is_expected(run: Run) -> None:
    for kind, split in (("split", True), ("partly: long", False)):
        (run.folder / REPORT_FILE).write_text(f'{{"kind": "{kind}"}}')
        assert was_split(run) is split and is_judged(run, report=True)


def test_criteria_go_first_and_a_person_last(run: Run) -> None:
    (run.folder / REPORT_FILE).write_text('{"kind": "split"}')
    store_judgement(run.folder, judgement(True, False))
    assert was_split(run) is False
    store_answers(run.folder, [Answer("1", 1, True, 1, 0.5)])
    assert was_split(run) is True, "the person's word was given after the first look"


def test_in_a_study_of_several_targets_the_report_is_asked_for_too(run: Run) -> None:
    store_judgement(run.folder, judgement(True))
    assert is_judged(run) and not is_judged(run, report=True)


def test_what_has_not_changed_is_not_read_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    store_judgement(run.folder, judgement(True))
    assert was_split(run) is True
    monkeypatch.setattr(review, "read_review", lambda folder: pytest.fail("read again"))
    assert was_split(run) is True
