"""Journeys from a feature to a verdict, with the engine's double: grafts, runs, judging."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace

import pytest
from textual.widgets import Input, Static

from saetui import settings
from saetui.errors import UserError
from saetui.runs.store import Run, remove_run
from saetui.split.judging.review import read_review
from saetui.studies.verdicts import REPORT_FILE, store_report
from saetui.tui.run_follower import RunFollower
from saetui.tui.screens.feature import FeatureScreen
from saetui.tui.screens.launch import Choice, LaunchScreen
from saetui.tui.screens.line_input import LineInput
from saetui.tui.screens.review import ReviewScreen
from saetui.tui.selection import Selected
from tests.split_report_support import REPORT
from tests.tui.bench import GELU, Bench, bench, finished_graft
from tests.tui.fabricate import FakeRun
from tests.tui.fake_engine import CHILDREN, FakeEngine
from tests.tui.host import until
from tests.tui.snapshot import check_snapshot, screen_text

# -- grafting


async def test_graft_lists_children_and_stores_a_run() -> None:
    def store(sae: str) -> str:
        return finished_graft().run.id

    async with bench(prepare=lambda engine: setattr(engine, "store", store)) as it:
        await it.press("g")
        pane = it.screen.children_pane
        assert [child.feature for child in pane.children_shown] == [512, 513, 514]
        assert pane.as_text().splitlines()[0] == "512\t0.5000\tmulti- single- two- dual-\tchannel lap"
        assert pane.run is not None and pane.run.id == "1122-1403-f0-k7q"
        await it.press("down", "enter")
        assert it.screen.selected == Selected("graft-1", 513)
        assert it.engine.asked[-1][1]["sae"] == "graft-1"
        assert len(pane.children_shown) == 3  # the siblings stay
        await it.press("g")
        assert "t goes back" in list(it.app._notifications)[-1].message


async def test_a_graft_shows_progress_and_escape_cancels_it() -> None:
    gate = asyncio.Event()
    async with bench(prepare=lambda engine: engine.gates.update(graft=gate)) as it:
        await it.pilot.press("g")
        await it.pilot.pause()
        line = it.screen.children_pane.query_one(".message", Static)
        assert "40 %" in str(line.content) and "graft under way" in str(line.content)
        await it.press("escape")
        assert it.engine.cancelled == ["graft"] and str(line.content) == "graft stopped"
        gate.set()
        await it.press("g")
        assert it.screen.children_pane.children_shown == sorted(CHILDREN, key=lambda c: -c.share)


async def test_a_graft_with_other_settings() -> None:
    async with bench() as it:
        await it.press("G")
        form = it.app.screen
        assert isinstance(form, LaunchScreen)
        by_name = {row.field.name: row for row in form._fields}
        field = by_name["children"].control
        assert isinstance(field, Input)
        field.value = "8"
        await it.pilot.pause()
        # The threshold of a feature that no one chose one for: a fifth of its strongest activation.
        assert it.line("#command") == ("saetui graft --model gelu-1l --target 0 --children 8 --threshold 1.8")
        await it.press("enter")
        recipe = next(args["recipe"] for op, args in it.engine.asked if op == "graft")
        assert recipe["children"] == 8 and recipe["threshold"] == 1.8
        assert it.screen.children_pane.children_shown


async def test_a_graft_that_fails_says_so_in_the_pane() -> None:
    error = UserError("feature 0 is above 2 on none of 1,000 tokens: lower the threshold")
    async with bench(prepare=lambda engine: engine.errors.update(graft=error)) as it:
        await it.press("g")
        assert str(it.screen.children_pane.query_one(".message", Static).content) == str(error)


async def test_children_of_an_earlier_run_are_found_again() -> None:
    older = finished_graft("1122-1403-f0-aaa")
    newer = finished_graft("1122-1503-f0-bbb")
    manifest = json.loads((newer.run.folder / "manifest.json").read_text())
    manifest["created"] += 60
    (newer.run.folder / "manifest.json").write_text(json.dumps(manifest))
    async with bench() as it:
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        assert it.screen.children_pane.run == Run(newer.run.folder)
        await it.press("o")
        assert it.screen.children_pane.run == Run(older.run.folder)


async def test_the_split_report_behind_the_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run with a stored one that, without asking; else as the engine finds it, with controls."""
    found = finished_graft("1122-1403-f0-aaa")

    def said() -> str:
        return getattr(it.app.screen, "text", "")

    async with bench() as it:
        await it.wait_for(lambda: it.screen.children_pane.children_shown)
        await it.press("R")
        await it.wait_for(lambda: "control features" in said())
        asked = [args for op, args in it.engine.asked if op == "report"]
        assert asked == [{"sae": "1122-1403-f0-aaa", "target": 0, "controls": True}]
        await it.press("escape")
        store_report(found.run.folder, replace(REPORT, target=77))
        await it.press("R")
        await it.wait_for(lambda: said().startswith("feature 77: partly"))
        assert len([op for op, _ in it.engine.asked if op == "report"]) == 1
        it.engine.errors["report"] = UserError("no held-out text")
        (found.run.folder / REPORT_FILE).unlink()
        await it.press("escape", "R")
        await it.wait_for(lambda: said() == "no held-out text")


# -- launching


async def test_the_launch_form_checks_inline_and_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[Run] = []
    monkeypatch.setattr("saetui.runs.launcher.launch", launched.append)
    async with bench() as it:
        await it.press("s")
        form = it.app.screen
        assert isinstance(form, LaunchScreen)
        assert "--target 0 --d-sae 4096 --threshold 1.8 --detach" in it.line("#command")
        assert "26,200,000 tokens in 6,397 steps" in it.line("#cost")
        by_name = {row.field.name: row for row in form._fields}
        field = by_name["tokens"].control
        assert isinstance(field, Input)
        field.value = "-3"
        await it.press("enter")
        assert it.app.screen is form and "must be > 0" in str(by_name["tokens"]._error.content)
        field.value = "40_000"
        width = by_name["d_sae"].control
        assert isinstance(width, Input)
        width.value = "32"
        await it.press("enter")
        assert it.app.screen is form and "narrow SAE already has 512 features" in it.line("#cost")
        width.value = "4096"
        choice = by_name["loss"].control
        assert isinstance(choice, Choice)
        choice.focus()
        await it.press("right")
        assert "--loss target_zeroed --tokens 40000" in it.line("#command")
        await it.press("f3")
        assert all(row.display for row in form._fields)
        await it.press("enter")
        assert launched and launched[0].manifest.recipe["loss"] == "target_zeroed"
        assert launched[0].manifest.recipe["tokens"] == 40_000 and launched[0].manifest.kind == "split"
        assert it.screen.grid.active == 5 and it.screen.run_pane.run == launched[0]
        # The focus that comes back from under the form does not take the pane away again.
        await it.press("4", "s", "enter")
        assert it.screen.grid.active == 5 and it.screen.run_pane.display and len(launched) == 2


def control(it: Bench, name: str) -> Input | Choice:
    form = it.app.screen
    assert isinstance(form, LaunchScreen)
    found = next(row.control for row in form._fields if row.field.name == name)
    assert isinstance(found, (Input, Choice))
    return found


async def test_the_launch_form_says_what_the_filter_keeps_of_what_is_typed() -> None:
    async with bench() as it:
        await it.press("s")
        said = "filter: keeps 19.2 % of rows, for 0.960 % of tokens above 1.8 (1M read)"
        assert said in it.line("#cost")
        assert "26,200,000 tokens in 6,397 steps of 4,096\n" in it.line("#cost")
        assert "text: 136M tokens are read, 26.2M of them kept\n" in it.line("#cost")
        control(it, "granularity").value = "token"
        await it.settle()
        assert "filter: keeps 0.960 % of tokens, those above 1.8 (1M read)" in it.line("#cost")
        assert "text: 2.73G tokens are read, 26.2M of them kept" in it.line("#cost")
        control(it, "threshold").value = "4.5"
        await it.settle()
        assert "filter: keeps 0.600 % of tokens, those above 4.5" in it.line("#cost")
        control(it, "granularity").value = "mixed"
        await it.settle()
        assert "filter: 25.0 % of the stream is from 0.600 % of tokens above 4.5" in it.line("#cost")
        control(it, "buffer_passes").value = "4"
        await it.settle()
        assert "text: about 4.91M tokens are read, each trained on 4 times" in it.line("#cost")
        control(it, "threshold").value = "9"
        await it.settle()
        assert "filter: keeps NOTHING: no token is above 9 (1M read)" in it.line("#cost")
        asked = [args for op, args in it.engine.asked if op == "kept"]
        assert asked[-1] == {"feature": 0, "threshold": 9.0}
        control(it, "data").value = "all"
        await it.settle()
        assert "filter:" not in it.line("#cost") and "text: 6.55M tokens are read, each" in it.line("#cost")
        assert [args for op, args in it.engine.asked if op == "kept"] == asked


async def test_the_launch_form_waits_for_no_answer() -> None:
    opened, counted = asyncio.Event(), asyncio.Event()

    def hold(engine: FakeEngine) -> None:
        engine.gates.update(open=opened, kept=counted)

    async with bench(prepare=hold, settle=False) as it:
        await it.pilot.press("s")
        await it.wait_for(lambda: "the engine is not ready" in it.line("#cost"))
        opened.set()
        await it.wait_for(lambda: "filter: counting what it keeps …" in it.line("#cost"))
        threshold = control(it, "threshold")
        threshold.value = "3"
        threshold.value = "4.5"
        await it.wait_for(lambda: "kept" in it.engine.cancelled)  # only what is typed now is waited for
        counted.set()
        await it.wait_for(lambda: "of tokens above 4.5 (1M read)" in it.line("#cost"))
        it.engine.read = 2_000_000  # more of the text is read: it asks again by itself
        it.engine.on_notice({"notice": "index", "sae": "narrow", "tokens": 1, "wanted": 1, "complete": True})
        await it.wait_for(lambda: "of tokens above 4.5 (2M read)" in it.line("#cost"))
        await it.press("escape")
        assert isinstance(it.app.screen, FeatureScreen)


async def test_the_launch_form_estimates_by_an_earlier_run_of_that_size() -> None:
    fake = FakeRun(settings.runs_root(), "1122-1403-f0-k7q", tokens=5_200_000)
    path = fake.run.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "setup": GELU.to_dict()}))
    fake.begin().train(5_200_000).event("exit", state="finished")  # 52,000 tokens a second
    async with bench() as it:
        await until(it.pilot, lambda: bool(it.app.watch_runs.runs))
        await it.press("s")
        assert "time: about 8m24s, by the last run with 4,096 features" in it.line("#cost")
        control(it, "d_sae").value = "2048"  # no run of that size: by this one's, of which steps are the most
        await it.settle()
        assert "time: ~4m12s, a guess by a run with 4,096 features" in it.line("#cost")


async def test_escape_launches_nothing() -> None:
    async with bench() as it:
        await it.press("s", "escape")
        assert isinstance(it.app.screen, FeatureScreen)
    assert not settings.runs_root().exists()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_snapshot_of_the_launch_form(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saetui.tui.screens.launch.survives_logout", lambda: None)
    async with bench(size=size) as it:
        await it.press("s")
        check_snapshot(it.app, f"launch-{size[0]}")


# -- runs come and go


async def test_a_run_that_ends_is_told_of() -> None:
    async with bench() as it:
        fake = FakeRun(settings.runs_root())
        fake.hold()
        fake.begin()
        await it.wait_for(lambda: "running" in it.line("#run-line"))
        fake.finish()
        await it.wait_for(lambda: "finished" in it.line("#run-line"))
        assert "r lists it, v there judges it" in list(it.app._notifications)[-1].message


async def test_the_run_pane_reads_files_in_a_thread_of_its_own_and_says_what_it_cannot_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    poll = RunFollower.poll

    def noted(follower: RunFollower) -> bool:
        looked.append(threading.current_thread().name)
        return poll(follower)

    monkeypatch.setattr(RunFollower, "poll", noted)
    run = finished_graft().run
    async with bench() as it:
        await it.wait_for(lambda: it.screen.run_pane.run is not None)
        await it.press("5")
        await it.wait_for(lambda: "feature 0" in screen_text(it.app))
        assert set(looked) == {"poller"}
        run.events_path.unlink()
        run.events_path.mkdir()
        it.screen.run_pane.freshen()
        await it.wait_for(lambda: it.screen.run_pane._message.display)
        assert "events.jsonl" in str(it.screen.run_pane._message.content)


async def test_the_run_pane_goes_on_to_the_newest_run_where_its_own_is_deleted() -> None:
    older, launched = finished_graft().run, FakeRun(settings.runs_root(), "1122-1500-f0-abc").begin().run
    async with bench() as it:
        pane = it.screen.run_pane
        await it.press("5")
        it.screen.show_launched(launched)
        await it.wait_for(lambda: launched.id in pane.as_text())
        remove_run(launched)
        await it.wait_for(lambda: older.id in pane.as_text())
        remove_run(older)
        await it.wait_for(lambda: "no runs yet" in pane.as_text())
        assert not pane._message.display


# -- judging


async def test_review_answers_undo_notes_and_coming_back() -> None:
    run = finished_graft().run
    async with bench() as it:
        await it.wait_for(lambda: it.screen.run_pane.run is not None)
        await it.settle()
        await it.press("v")
        review = it.app.screen
        assert isinstance(review, ReviewScreen)
        assert "0/12 answered · so far 2 of 3 children" in it.line("#progress")
        await it.press("y", "n", "a")
        assert "3/12" in it.line("#progress") and "1 of 3 children" in it.line("#progress")
        await it.press("u")
        assert "2/12" in it.line("#progress")
        await it.press("t")
        assert isinstance(it.app.screen, LineInput)
        await it.type("half of these are names")
        await it.press("n")
        answers = read_review(run.folder).answers
        assert answers["count", 3].note == "half of these are names" and answers["count", 3].verdict is False
        await it.press("escape")
        assert isinstance(it.app.screen, FeatureScreen)
        await it.press("v")
        assert "3/12" in it.line("#progress")
        await it.press("question_mark")  # unsure is an answer: the judge's word stands, and it is kept
        assert "4/12" in it.line("#progress")
        await it.press("escape", "v", "up")
        assert "4/12" in it.line("#progress")
        unsure = read_review(run.folder).answers["count", 4]
        assert unsure.unsure and unsure.verdict is None and read_review(run.folder).holds("count", 4)
        assert "your answer: unsure" in screen_text(it.app) and "?✓" in screen_text(it.app)
        await it.press("down", *"aaaaaaaa")
        assert "done: 1 of 3 children" in it.line("#progress")
        assert read_review(run.folder).by == "judge and person"
    judged = [op for op, _ in it.engine.asked if op == "judge"]
    assert len(judged) == 1  # the second look read the first judging


async def test_a_judging_that_fails_is_one_line() -> None:
    finished_graft()
    error = UserError("no criteria are known for this: name a criteria file")
    async with bench(prepare=lambda engine: engine.errors.update(judge=error)) as it:
        await it.wait_for(lambda: it.screen.run_pane.run is not None)
        await it.press("v")
        assert str(error) in str(it.app.screen.query_one("#question", Static).content)
        await it.press("y", "escape")
        assert isinstance(it.app.screen, FeatureScreen)


async def test_a_run_of_another_model_is_not_judged_here() -> None:
    fake = FakeRun(settings.runs_root())
    fake.event("exit", state="finished")
    async with bench() as it:
        await it.wait_for(lambda: it.app.watch_runs.runs)
        await it.press("r", "v")
        assert "saetui open --model real" in str(it.app.screen.query_one("#question", Static).content)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_snapshot_of_the_review(size: tuple[int, int]) -> None:
    finished_graft()
    async with bench(size=size) as it:
        await it.wait_for(lambda: it.screen.run_pane.run is not None)
        await it.press("v", "y", "j")
        check_snapshot(it.app, f"review-{size[0]}")
