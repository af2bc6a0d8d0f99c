"""What the screens look like: in every state, at three sizes, to those who see no colour or no picture."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from saetui import settings
from saetui.errors import UserError
from saetui.features.results import Contexts, PromptProbe
from saetui.tui.run_watch import RunWatch
from saetui.tui.screens.help import HelpScreen
from saetui.tui.screens.monitor import MonitorScreen
from saetui.tui.screens.review import ReviewScreen
from saetui.tui.screens.runs import RunsScreen
from tests.tui.bench import Bench, bench, finished_graft
from tests.tui.fabricate import FakeRun, several_runs
from tests.tui.fake_engine import FakeEngine, contexts
from tests.tui.host import Host, until
from tests.tui.snapshot import check_snapshot, screen_text

Size = tuple[int, int]
SIZES: list[Size] = [(80, 24), (120, 40), (200, 60)]
SAID = UserError("something that cannot be, and what to do about it")


def silent(engine: FakeEngine) -> None:
    """A feature that fires nowhere, in a world without runs."""

    def nowhere(sae: str, feature: int, before: int, after: int) -> Contexts:
        known = contexts(sae, feature)
        return replace(
            known, fired=0, density=0.0, max_activation=0.0, histogram=[0, 0, 0], top=[], intervals=[]
        )

    def nothing(prompt: str, sae: str, top: int, follow: list[int]) -> PromptProbe:
        probe = FakeEngine._probe(engine, prompt, sae, top, follow)
        tokens = [replace(token, top=[], margin=None, followed=[], l0=0) for token in probe.tokens]
        return replace(probe, tokens=tokens)

    engine._contexts = nowhere  # type: ignore[method-assign]
    engine._probe = nothing  # type: ignore[method-assign]


def failing(engine: FakeEngine) -> None:
    engine.errors.update((op, SAID) for op in ("probe", "contexts", "lens", "graft"))


@asynccontextmanager
async def shown(state: str, size: Size) -> AsyncIterator[Bench]:
    """The workbench in one of its states."""
    prepare: dict[str, Callable[[FakeEngine], None]] = {
        "grafted": lambda engine: setattr(engine, "store", lambda _: finished_graft().run.id),
        "loading": lambda engine: engine.gates.update(open=asyncio.Event()),
        "refused": lambda engine: engine.errors.update(open=SAID),
        "empty": silent,
        "errors": failing,
        "dead": lambda engine: None,
    }
    async with bench(size=size, prepare=prepare[state], settle=state != "loading") as it:
        await it.pilot.pause()
        if state in ("grafted", "errors"):
            await it.press("g")
        if state == "grafted":
            await it.wait_for(lambda: it.line("#run-line"))
        if state == "dead":
            it.app.session._restarted = True
            it.engine.die()
        if state != "loading":
            await it.settle()
        yield it


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size[0]))
@pytest.mark.parametrize("state", ["grafted", "loading", "refused", "empty", "errors", "dead"])
async def test_snapshots_of_the_workbench(state: str, size: Size) -> None:
    async with shown(state, size) as it:
        name = "workbench" if state == "grafted" else f"workbench-{state}"
        check_snapshot(it.app, f"{name}-{size[0]}")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size[0]))
async def test_snapshots_of_runs_without_data(tmp_path: Path, size: Size) -> None:
    fake = FakeRun(tmp_path)
    fake.hold()
    fake.begin()
    async with Host(MonitorScreen(fake.run, interval=0.02)).run_test(size=size) as pilot:
        await until(pilot, lambda: "no data yet" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "0 of 26.2M tokens" in text and "p Pause" in text
        assert re.search(r"╞|Traceback", text) is None
    fake.finish("failed", message=str(SAID))
    async with Host(MonitorScreen(fake.run, interval=0.02)).run_test(size=size) as pilot:
        await until(pilot, lambda: "✗ failed" in screen_text(pilot.app))
        assert str(SAID) in screen_text(pilot.app)
    async with Host(RunsScreen(RunWatch(tmp_path / "none"), interval=0.02)).run_test(size=size) as pilot:
        await until(pilot, lambda: "no runs yet" in screen_text(pilot.app))


# -- without colour: the text alone, as a snapshot has it, tells states apart


async def test_where_one_is_can_be_read() -> None:
    for size in SIZES:
        async with bench(size=size) as it:
            for number in (1, 2, 3, 4, 5):
                await it.press(str(number))
                titles = re.findall(r"\[(\d) [a-z -]+\]", screen_text(it.app))
                assert titles == [str(number)], (size, number)


async def test_states_of_runs_differ_in_words_and_signs(tmp_path: Path) -> None:
    several_runs(tmp_path)
    async with Host(RunsScreen(RunWatch(tmp_path), interval=0.02)).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "queued" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        for state in ("✓ finished", "■ stopped", "✗ failed", "✗ crashed", "▶ running", "◌ queued"):
            assert state in text
        assert text.count("▸") == 1, "the cursor is a sign of its own"


async def test_the_engines_states_differ_in_words() -> None:
    said: dict[str, str] = {}
    for state in ("grafted", "loading", "refused", "dead"):
        async with shown(state, (80, 24)) as it:
            said[state] = it.line("#engine-line")
    assert len(set(said.values())) == len(said)
    assert "loading" in said["loading"] and str(SAID) == said["refused"] and "ctrl+r" in said["dead"]


async def test_answers_of_the_judge_and_of_the_person_differ_in_signs() -> None:
    finished_graft()
    async with bench() as it:
        await it.wait_for(lambda: it.screen.run_pane.run is not None)
        await it.press("v")
        await it.press("y", "n", "question_mark")
        assert isinstance(it.app.screen, ReviewScreen)
        matrix = screen_text(it.app)
        row = next(line for line in matrix.splitlines() if " ✓ 0" in line)
        assert " ✓ 0.84" in row and " ✗ 0.95" in row and "?" in row and "(✓)" in row and "▸" in row


# -- without a picture: everything in ASCII, for screen readers and poor fonts


@pytest.fixture
def in_ascii(isolated_places: Path) -> None:
    (isolated_places / "settings.toml").write_text('symbols = "ascii"\n')


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size[0]))
async def test_ascii_is_ascii_on_every_screen(in_ascii: None, size: Size) -> None:
    several_runs(settings.runs_root())
    graft = finished_graft()

    def odd(text: str) -> set[str]:
        return {char for char in text if not char.isascii()}

    async with bench(size=size, prepare=lambda e: setattr(e, "store", lambda _: graft.run.id)) as it:
        await it.press("g")
        for number in (1, 2, 3, 4, 5):
            await it.press(str(number))
            assert not odd(screen_text(it.app)), number
        await it.press("s")
        assert not odd(screen_text(it.app))
        await it.press("escape", "f1")
        assert isinstance(it.app.screen, HelpScreen) and not odd(screen_text(it.app))
        await it.press("escape", "4", "v", "y")
        assert isinstance(it.app.screen, ReviewScreen) and not odd(screen_text(it.app))
        await it.press("escape", "r")
        await it.wait_for(lambda: "> running" in screen_text(it.app))
        assert not odd(screen_text(it.app))
        await it.press("down", "down", "enter")
        await it.wait_for(lambda: "of 26.2M" in screen_text(it.app))
        await it.settle()
        text = screen_text(it.app)
        assert not odd(text)
        # What a curve shows is said in numbers: name and value of every series.
        assert re.search(r"loss  o \d", text) and re.search(r"FVU  o 0\.\d", text)


def test_an_unknown_symbol_set_is_refused_by_name(isolated_places: Path) -> None:
    (isolated_places / "settings.toml").write_text('symbols = "brail"\n')
    with pytest.raises(UserError, match="'brail', but there are braille, block, ascii"):
        settings.load_settings()
