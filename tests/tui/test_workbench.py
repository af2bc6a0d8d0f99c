"""Journeys through the workbench, with the engine's double at the edge of its pipe."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from textual._compositor import Compositor
from textual.widgets import Input, Static

from saetui import settings
from saetui.errors import UsageError, UserError
from saetui.runs.store import Run
from saetui.split.review import read_review
from saetui.tui.run_follower import RunFollower
from saetui.tui.screens.feature import FeatureScreen
from saetui.tui.screens.help import HelpScreen
from saetui.tui.screens.launch import Choice, LaunchScreen
from saetui.tui.screens.line_input import LineInput
from saetui.tui.screens.review import ReviewScreen
from saetui.tui.selection import Selected
from saetui.tui.session import NARROW, Phase
from tests.tui.bench import GELU, bench, finished_graft
from tests.tui.fabricate import FakeRun
from tests.tui.fake_engine import CHILDREN
from tests.tui.host import until
from tests.tui.snapshot import check_snapshot, screen_text

# -- looking


async def test_opens_on_the_feature_with_every_pane_filled() -> None:
    async with bench() as it:
        assert it.screen.selected == Selected(NARROW, 0)
        assert {op for op, _ in it.engine.asked} == {"open", "probe", "contexts", "lens", "neighbours"}
        assert "feature 0 of 512" in it.line("#feature-bar") and "fires on 1.20 %" in it.line("#feature-bar")
        assert it.line("#engine-line") == "gelu-1l on cpu"


async def test_tokens_are_walked_and_a_feature_chosen() -> None:
    async with bench() as it:
        # The strip starts at the hyphen: there feature 240 is strongest, then 31.
        await it.press("down", "enter")
        assert it.screen.selected == Selected(NARROW, 31)
        await it.press("left_square_bracket")
        assert it.screen.selected == Selected(NARROW, 0)
        await it.press("right_square_bracket")
        assert it.screen.selected == Selected(NARROW, 31)


async def test_a_prompt_is_probed_and_remembered() -> None:
    async with bench() as it:
        await it.press("p")
        it.screen.query_one(Input).value = "a long-standing rule"
        await it.press("enter")
        asked = [args for op, args in it.engine.asked if op == "probe"][-1]
        assert asked["prompt"] == "a long-standing rule" and asked["follow"] == [0]
        await it.press("p")
        await it.pilot.press("x")  # keys are letters while a prompt is written
        assert it.screen.query_one(Input).value == "a long-standing rulex"
    async with bench() as it:
        assert it.screen.prompt.prompt == "a long-standing rule"


async def test_an_empty_prompt_is_refused_in_one_line_and_nothing_is_lost() -> None:
    async with bench() as it:
        await it.press("p")
        it.screen.query_one(Input).value = ""
        await it.press("enter")
        assert "the prompt has no tokens" in str(it.screen.prompt.query_one(".message", Static).content)
        await it.press("p")
        it.screen.query_one(Input).value = "a well-known fact"
        await it.press("enter")
        assert not it.screen.prompt.query_one(".message").display


async def test_narrow_and_wide_side_by_side() -> None:
    async with bench() as it:
        await it.press("w")
        assert not it.screen.prompt.beside  # nothing wide is there yet, and the notice says how to get it
        assert "no wide SAE yet" in next(iter(it.app._notifications)).message
        await it.press("g", "w")
        assert it.screen.prompt.beside
        assert [args["sae"] for op, args in it.engine.asked if op == "probe"][-2:] == [NARROW, "graft-1"]


async def test_the_last_feature_is_there_again_the_next_time() -> None:
    async with bench() as it:
        await it.press("slash")
        await it.type("17")
        await it.press("z")
    async with bench() as it:
        assert it.screen.selected == Selected(NARROW, 17) and it.screen.grid.zoomed


async def test_contexts_from_intervals_wider_and_still_coming() -> None:
    async with bench(prepare=lambda engine: setattr(engine, "complete", False)) as it:
        assert "still being read" in str(it.screen.contexts.query_one(".facts", Static).content)
        await it.press("i")
        assert len(it.screen.contexts.as_text().splitlines()) == 10
        await it.press("x")
        assert [args["before"] for op, args in it.engine.asked if op == "contexts"][-1] == 12
        asked = len(it.engine.asked)
        it.engine.complete = True
        await it.wait_for(lambda: len(it.engine.asked) > asked)  # the pane looks again by itself
        await it.settle()
        assert "still being read" not in str(it.screen.contexts.query_one(".facts", Static).content)


async def test_the_histogram_is_read_off_by_the_arrows() -> None:
    async with bench() as it:
        await it.press("2", "right", "left")
        assert "3.00–6.00: 3.00k  ≥ 4.00k, 33.3 %" in screen_text(it.app)
        await it.press("escape")
        assert "n 12.0k" in screen_text(it.app)


async def test_what_takes_long_says_so_and_escape_gives_it_up() -> None:
    gate = asyncio.Event()
    async with bench(prepare=lambda engine: engine.gates.update(lens=gate), settle=False) as it:
        await it.wait_for(lambda: "3 logit lens …" in screen_text(it.app))
        await it.pilot.press("escape")
        await it.wait_for(lambda: it.engine.cancelled == ["lens"])
        await it.settle()
        text = screen_text(it.app)
        assert "3 logit lens ─" in text and "stopped" in text
        gate.set()
        await it.press("n")
        assert "up0" in screen_text(it.app) and "stopped" not in screen_text(it.app)


async def test_copying_a_pane_says_where_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    async with bench() as it:
        await it.press("3", "c")
        path = settings.state_root() / "clipboard.txt"
        assert path.read_text().startswith("boosted\t up0\t3.0000")
        assert str(path) in next(iter(it.app._notifications)).message


# -- panes


@pytest.mark.parametrize(
    ("size", "shown"), [((80, 24), {1}), ((120, 40), {1, 2, 3, 4}), ((200, 60), {1, 2, 3, 4, 5})]
)
async def test_panes_by_the_room_there_is(size: tuple[int, int], shown: set[int]) -> None:
    async with bench(size=size) as it:
        visible = {pane.NUMBER for pane in it.screen.panes if pane.display and pane.region.area}
        assert visible == shown


async def test_hidden_panes_ask_nothing_until_they_are_shown() -> None:
    async with bench(size=(80, 24)) as it:
        assert {op for op, _ in it.engine.asked} == {"open", "probe"}
        await it.press("tab")
        assert it.screen.grid.active == 2 and it.engine.asked[-1][0] == "contexts"
        await it.press("shift+tab", "shift+tab")
        assert it.screen.grid.active == 5
        await it.press("3")
        assert {op for op, _ in it.engine.asked} >= {"lens", "neighbours"}


async def test_zoom_shows_one_pane_and_all_again() -> None:
    async with bench() as it:
        await it.press("2", "z")
        assert [pane.NUMBER for pane in it.screen.panes if pane.display] == [2]
        await it.press("escape")
        assert [pane.NUMBER for pane in it.screen.panes if pane.display] == [1, 2, 3, 4]


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


# -- the engine


async def test_a_dead_engine_is_started_again_once_and_then_waits_for_the_person() -> None:
    async with bench() as it:
        it.engine.die()
        await it.wait_for(lambda: it.app.session.state.phase is Phase.READY)
        assert it.engine.starts == 2
        it.engine.die()
        await it.pilot.pause()
        assert it.app.session.state.phase is Phase.DIED
        assert "ended by SIGKILL" in it.line("#engine-line") and "ctrl+r" in it.line("#engine-line")
        await it.press("g")
        assert "not ready" in list(it.app._notifications)[-1].message
        await it.press("ctrl+r")
        assert it.app.session.state.phase is Phase.READY
        asked = len(it.engine.asked)
        await it.press("n")
        assert len(it.engine.asked) > asked


async def test_a_setup_that_cannot_be_opened_is_one_line_and_the_app_stays() -> None:
    error = UsageError("the SAE wants d_in 512, the model has 64: name the SAE of this model")
    async with bench(prepare=lambda engine: engine.errors.update(open=error)) as it:
        assert it.line("#engine-line") == str(error)
        await it.press("tab")
        assert it.screen.grid.active == 2


async def test_loading_is_shown_and_keys_work_meanwhile() -> None:
    gate = asyncio.Event()
    async with bench(prepare=lambda engine: engine.gates.update(open=gate), settle=False) as it:
        await it.pilot.pause()
        assert "loading gelu-1l: open under way" in it.line("#engine-line")
        await it.pilot.press("n")
        gate.set()
        await it.settle()
        assert it.line("#engine-line") == "gelu-1l on cpu"
        it.engine.on_notice(
            {"notice": "index", "sae": "narrow", "tokens": 340, "wanted": 1000, "complete": False}
        )
        assert "reading the corpus 34 %" in it.line("#engine-line")


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


async def test_the_launch_form_estimates_by_an_earlier_run_of_that_size() -> None:
    fake = FakeRun(settings.runs_root(), "1122-1403-f0-k7q", tokens=5_200_000)
    path = fake.run.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "setup": GELU.to_dict()}))
    fake.begin().train(5_200_000).event("exit", state="finished")  # 52,000 tokens a second
    async with bench() as it:
        await until(it.pilot, lambda: bool(it.app.watch_runs.runs))
        await it.press("s")
        assert "estimate: about 8m24s, by the last run with 4,096 features" in it.line("#cost")
        form = it.app.screen
        assert isinstance(form, LaunchScreen)
        size = next(row.control for row in form._fields if row.field.name == "d_sae")
        assert isinstance(size, Input)
        size.value = "2048"  # no run of that size, so nothing is said
        await it.settle()
        assert "estimate" not in it.line("#cost") and "tokens in" in it.line("#cost")


async def test_escape_launches_nothing() -> None:
    async with bench() as it:
        await it.press("s", "escape")
        assert isinstance(it.app.screen, FeatureScreen)
    assert not settings.runs_root().exists()


# -- runs come and go


async def test_a_run_that_ends_is_told_of() -> None:
    async with bench() as it:
        fake = FakeRun(settings.runs_root())
        fake.hold()
        fake.begin()
        await it.wait_for(lambda: "running" in it.line("#run-line"))
        fake.finish()
        await it.wait_for(lambda: "finished" in it.line("#run-line"))
        assert "v judges it" in list(it.app._notifications)[-1].message


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
        await it.wait_for(lambda: it.screen.run_pane.run is not None)
        await it.press("v")
        assert "saetui open --model real" in str(it.app.screen.query_one("#question", Static).content)


# -- help, palette, keys


async def test_help_shows_every_action_with_its_key() -> None:
    async with bench(size=(120, 100)) as it:
        await it.press("f1")
        assert isinstance(it.app.screen, HelpScreen)
        await it.press("escape")
        assert isinstance(it.app.screen, FeatureScreen)


async def test_the_palette_offers_what_is_valid_here() -> None:
    async with bench() as it:
        commands = {command.title for command in it.app.get_system_commands(it.app.screen)}
        assert {"Graft", "Split", "Zoom", "Quit", "Theme"} <= commands
        assert not {"Holds", "Launch"} & commands
        graft = next(c for c in it.app.get_system_commands(it.app.screen) if c.title == "Graft")
        await graft.callback()  # pyright: ignore[reportGeneralTypeIssues]
        await it.settle()
        assert it.screen.children_pane.children_shown


async def test_keys_can_be_remapped_in_the_settings(isolated_places: Path) -> None:
    (isolated_places / "settings.toml").write_text('[keys]\ngraft = "ctrl+g"\n')
    async with bench() as it:
        await it.press("g")
        assert not it.screen.children_pane.children_shown
        await it.press("ctrl+g")
        assert it.screen.children_pane.children_shown


# -- what it looks like


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_snapshot_of_the_launch_form(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saetui.tui.screens.launch.survives_logout", lambda: None)
    async with bench(size=size) as it:
        await it.press("s")
        check_snapshot(it.app, f"launch-{size[0]}")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_snapshot_of_the_review(size: tuple[int, int]) -> None:
    finished_graft()
    async with bench(size=size) as it:
        await it.wait_for(lambda: it.screen.run_pane.run is not None)
        await it.press("v", "y", "j")
        check_snapshot(it.app, f"review-{size[0]}")


async def test_snapshot_of_the_help() -> None:
    async with bench(size=(120, 110)) as it:
        await it.press("f1")
        check_snapshot(it.app, "help")


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
        (run.folder / "manifest.json").write_text("{")
        it.screen.run_pane.freshen()
        await it.wait_for(lambda: it.screen.run_pane._message.display)
        assert "manifest" in str(it.screen.run_pane._message.content)


async def test_a_move_of_the_focus_does_not_paint_the_whole_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[str] = []
    paint = Compositor.render_full_update

    def counted(self: Compositor, simplify: bool = False) -> Any:
        painted.append("all")
        return paint(self, simplify)

    async with bench() as it:
        monkeypatch.setattr(Compositor, "render_full_update", counted)
        await it.press("tab", "tab", "tab")
        assert it.screen.grid.active == 4
        assert not painted
