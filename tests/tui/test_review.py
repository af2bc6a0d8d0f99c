"""Reviewing run after run: keys, the queue, what is close, and coming back at the same place."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from saetui.errors import UserError
from saetui.features.results import TokenLogit
from saetui.split.finding.report import SplitReport, SplitThresholds, Spread
from saetui.split.judging.found import found_judgement
from saetui.split.judging.review import read_review, store_answers, store_judgement
from saetui.split.judging.verdict import CriterionResult, Evidence
from saetui.tui.screens.review import ReviewScreen
from tests.tui.bench import Bench, bench, finished_graft
from tests.tui.fake_engine import CHILDREN, child, judgement
from tests.tui.snapshot import check_snapshot, screen_text

NAMES = ("1122-1400-f0-aaa", "1122-1401-f0-bbb", "1122-1402-f0-ccc")


async def waiting(it: Bench) -> None:
    """Until the workbench knows of the runs."""
    await it.wait_for(lambda: it.app.watch_runs.runs)
    await it.settle()


async def test_all_runs_are_reviewed_in_a_row_and_undone_across_them() -> None:
    runs = [finished_graft(name).run for name in NAMES]
    async with bench() as it:
        await waiting(it)
        await it.press("V")
        assert it.line("#review-title").startswith("run 1 of 3 · graft 1122-1400")
        await it.press(*"a" * 11)
        assert "11/12" in it.line("#progress")
        await it.press("a")
        assert it.line("#review-title").startswith("run 2 of 3") and "0/12" in it.line("#progress")
        assert "1122-1400-f0-aaa: 2 of 3 children" in list(it.app._notifications)[-1].message
        await it.press("u")  # to where the last answer was given, and then takes it back
        assert it.line("#review-title").startswith("run 1 of 3") and "done:" in it.line("#progress")
        await it.press("u")
        assert "11/12" in it.line("#progress") and len(read_review(runs[0].folder).answers) == 11
        await it.press("a", "y", "tab")
        assert it.line("#review-title").startswith("run 3 of 3")
        await it.press("escape", "V")  # another sitting: what is done is not asked again
        assert it.line("#review-title").startswith("run 1 of 2 · graft 1122-1401")
        assert "1/12" in it.line("#progress")
        await it.press(*"a" * 11, *"a" * 12)
        assert "that was the last one: esc goes back" in list(it.app._notifications)[-1].message
        await it.press("escape", "V")
        assert "no finished run" in list(it.app._notifications)[-1].message


async def test_the_next_run_is_judged_while_this_one_is_reviewed() -> None:
    for name in NAMES[:2]:
        finished_graft(name)
    async with bench() as it:
        await waiting(it)
        await it.press("V")
        assert [args["sae"] for op, args in it.engine.asked if op == "judge"] == list(NAMES[:2])
        await it.press("tab")  # nothing is judged twice
        assert sum(op == "judge" for op, _ in it.engine.asked) == 2


async def test_what_the_judge_opens_is_not_what_the_person_has_opened() -> None:
    for name in NAMES:
        finished_graft(name)
    async with bench() as it:
        await waiting(it)
        before = list(it.app.session.encoders)
        await it.press("V", *"A" * 9)
        assert "done:" in it.line("#progress") and list(it.app.session.encoders) == before


async def test_no_key_is_offered_while_the_judge_reads() -> None:
    run = finished_graft(NAMES[0]).run
    gate = asyncio.Event()
    async with bench(prepare=lambda engine: engine.gates.update(judge=gate)) as it:
        await waiting(it)
        await it.pilot.press("V")
        await it.wait_for(lambda: "judge under way" in screen_text(it.app))
        keys = screen_text(it.app).splitlines()[-1]
        assert "Back" in keys and "Holds" not in keys and "Undo" not in keys
        await it.pilot.press("y", "n", "u", "t", "a")
        assert isinstance(it.app.screen, ReviewScreen) and not read_review(run.folder).answers
        gate.set()
        await it.settle()
        assert "Holds" in screen_text(it.app).splitlines()[-1] and "0/12" in it.line("#progress")


async def test_a_run_that_cannot_be_judged_does_not_stop_the_queue() -> None:
    for name in NAMES[:2]:
        finished_graft(name)
    async with bench(prepare=lambda e: e.errors.update(judge=UserError("its SAE is gone"))) as it:
        await waiting(it)
        await it.press("V")
        assert it.line("#question") == "its SAE is gone"
        it.engine.errors.clear()
        await it.press("tab")
        assert "0/12" in it.line("#progress")


async def test_a_note_is_kept_before_there_is_an_answer_and_after_it_is_taken_back() -> None:
    run = finished_graft(NAMES[0]).run
    async with bench() as it:
        await waiting(it)
        await it.press("V", "t")
        await it.type("word pieces")
        await it.press("y", "u", "escape", "V")
        assert "note: word pieces" in screen_text(it.app) and "0/12" in it.line("#progress")
    review = read_review(run.folder)
    assert review.notes == {("count", 1): "word pieces"} and not review.answers


async def test_the_rest_of_a_child_is_accepted_with_one_key_but_for_what_is_close() -> None:
    run = finished_graft(NAMES[0]).run
    found = judgement("x")
    found.children[0].criteria[1] = CriterionResult(2, 0.5, 0.5, True, Evidence("10 of 20 follow"))
    store_judgement(run.folder, found)
    async with bench() as it:
        await waiting(it)
        await it.press("V", "A")
        assert "3/12" in it.line("#progress") and "close to its limit" in screen_text(it.app)
        await it.press("A")
        assert "answer it by itself" in list(it.app._notifications)[-1].message
        await it.press("n", "A")
        assert "8/12" in it.line("#progress")
        await it.press("u")  # one key, and what it answered, at a time
        assert "4/12" in it.line("#progress")
        await it.press("u", "y", "A", "A")
        assert "done: 2 of 3 children" in it.line("#progress")  # the judge lets a criterion of "number" fail
    answers = read_review(run.folder).answers
    assert len(answers) == 12 and answers["number", 3].verdict is False and answers["count", 2].verdict


async def test_an_answer_waits_for_the_disk_and_the_screen_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_graft(NAMES[0]).run
    writers: list[threading.Thread] = []

    def store(*args: Any) -> None:
        writers.append(threading.current_thread())
        store_answers(*args)

    monkeypatch.setattr("saetui.tui.screens.review.store_answers", store)
    async with bench() as it:
        await waiting(it)
        await it.press("V")
        await it.pilot.press(*"ynay")  # typed ahead: answered in order
        await it.settle()
        assert "4/12" in it.line("#progress")
    assert len(writers) == 4 and threading.main_thread() not in writers
    assert [a.verdict for a in read_review(run.folder).answers.values()] == [True, False, True, True]


def test_a_number_within_a_tenth_of_its_limit_is_close() -> None:
    def close(number: float | None, limit: float = 0.5) -> bool:
        return CriterionResult(2, number, limit, True, Evidence("")).close

    assert close(0.5) and close(0.55) and close(0.45) and close(0.0, 0.0)
    assert not close(0.56) and not close(0.44) and not close(None)


async def test_a_close_number_is_marked_without_colour() -> None:
    run = finished_graft(NAMES[0]).run
    found = judgement("x")
    found.children[0].criteria[1] = CriterionResult(2, 0.5, 0.5, True, Evidence("10 of 20 follow"))
    store_judgement(run.folder, found)
    for size, name in (((80, 24), "review-close-80"), ((120, 40), "review-close-120")):
        async with bench(size=size) as it:
            await waiting(it)
            await it.press("V", "down")
            assert "(✓)0.50≈" in screen_text(it.app) and "close to its limit" in screen_text(it.app)
            check_snapshot(it.app, name)


async def test_children_found_without_criteria_are_reviewed_too() -> None:
    run = finished_graft(NAMES[0]).run
    leaky = child(515, "count", 0.02)
    report = SplitReport(
        240, 1.8, 200_000, 900, "split", "three children",
        [*CHILDREN, type(leaky)(**{**vars(leaky), "precision": 0.4, "boosted": [TokenLogit(" x", 1.0)]})],
        [], Spread(0.9, 0.8, 1.0), 0.3, 0.1,
    )  # fmt: skip
    store_judgement(run.folder, found_judgement(report, run.id, "the held-out rows", SplitThresholds()))
    async with bench() as it:
        await waiting(it)
        await it.press("V")
        assert "0/4 answered · so far 3 of 4 children" in it.line("#progress")
        shown = screen_text(it.app)
        assert "child 512: its contexts belong together?" in shown and "5 together" in shown
        await it.press("y", "y", "n", "y")
        assert "done: 3 of 4 children" in it.line("#progress")
        check_snapshot(it.app, "review-found-120")
