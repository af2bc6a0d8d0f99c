"""The workbench at a terminal of its own: what the tests inside one process cannot see."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from saetui import settings
from saetui.runs.launcher import request
from saetui.runs.store import LIVE, list_runs
from saetui.setup import Setup
from saetui.tui.state import StateFile
from tests.runs_support import eventually
from tests.tui.fabricate import FakeRun
from tests.tui.pseudo_terminal import SAETUI, PseudoTerminal, plain

GELU = [*SAETUI, "--model", "gelu-1l"]
"""A model that no machine of ours has: the engine refuses it soon, and the screens are the same."""


@pytest.fixture
def workbench() -> Iterator[PseudoTerminal]:
    with PseudoTerminal(GELU, controlling=True) as terminal:
        terminal.until("Graft")
        yield terminal


def test_keys_are_answered_with_few_bytes_and_silence_costs_none(workbench: PseudoTerminal) -> None:
    workbench.read_for(60, until_quiet=3.0)  # the engine has started and said what it has to say
    for _ in range(5):
        workbench.press("\t")
        assert workbench.read(10), "no answer to a key"
        more = workbench.read_for(2, until_quiet=0.3)
        assert more < 20_000
    quiet = workbench.cpu_seconds()
    assert workbench.read_for(1.5) == 0
    assert workbench.cpu_seconds() - quiet < 0.1
    workbench.press("q")
    assert workbench.ended() == 0


def test_stray_mouse_bytes_do_not_deafen_it(workbench: PseudoTerminal) -> None:
    """An X10 mouse report beyond column 95 is no UTF-8; ``q`` must still end the workbench after it."""
    workbench.press(b"\x1b[M" + bytes([32, 33 + 170, 33 + 10]) + b"\xff\xfe")
    workbench.press("q")
    assert workbench.ended() == 0


def test_a_storm_of_resizes_leaves_a_whole_screen(workbench: PseudoTerminal) -> None:
    for columns, rows in [(20, 5), (200, 60), (80, 24), (1, 1), (300, 100), (81, 25)] * 6:
        workbench.resize(columns, rows)
        workbench.read(0.005)
    workbench.resize(120, 40)
    workbench.read_for(20, until_quiet=1.0)
    workbench.press("?")
    workbench.until("esc closes")
    workbench.press("q")
    workbench.read_for(20, until_quiet=0.5)
    workbench.press("q")
    assert workbench.ended() == 0
    assert b"Traceback" not in plain(workbench.seen)


def test_a_hang_up_leaves_the_run_at_work_and_the_state_saved() -> None:
    """The launch of a real run by keys, and the line that drops before anything was said about leaving."""
    with PseudoTerminal([*SAETUI, "--model", "synthetic"], controlling=True) as terminal:
        terminal.until("Graft")
        terminal.press("z")
        terminal.press("s")
        terminal.until("saetui split")
        terminal.press("\r")
        eventually(lambda: list_runs(settings.runs_root()))
        run = list_runs(settings.runs_root())[0]
        terminal.until(run.id)
        terminal.hang_up()
        assert terminal.ended() in (-signal.SIGHUP, 128 + signal.SIGHUP)
    assert run.state() in LIVE
    request(run, "stop")
    eventually(lambda: not run.alive())
    assert run.state() == "stopped", run.log_path.read_text()
    state = StateFile(Setup("synthetic")).load()
    assert state.zoomed and state.pane == 5


def test_it_ends_with_a_terminal_that_sends_no_signal() -> None:
    with PseudoTerminal(GELU) as terminal:
        terminal.until("Graft")
        terminal.hang_up()
        assert terminal.ended() == 128 + signal.SIGHUP


TRUE, INDEXED, NAMED = rb"\x1b\[[0-9;]*38;2;", rb"\x1b\[[0-9;]*38;5;", rb"\x1b\[(?:[0-9;]*;)?(?:3|9)[0-7][;m]"


@pytest.mark.parametrize(
    ("term", "environment", "used", "unused"),
    [
        ("xterm-256color", {}, INDEXED, TRUE),
        ("tmux-256color", {"TMUX": "/tmp/nowhere,1,0"}, INDEXED, TRUE),
        ("xterm-256color", {"COLORTERM": "truecolor"}, TRUE, INDEXED),
        ("screen", {}, NAMED, INDEXED),
        ("linux", {}, NAMED, INDEXED),
        ("vt220", {"LANG": "C", "LC_ALL": "C"}, NAMED, INDEXED),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_as_many_colours_as_the_terminal_has(
    term: str, environment: dict[str, str], used: bytes, unused: bytes
) -> None:
    with PseudoTerminal(GELU, (80, 24), term, environment) as terminal:
        terminal.until("Graft")
        terminal.press("q")
        assert terminal.ended() == 0
        assert re.search(used, terminal.seen) and not re.search(unused, terminal.seen)


def test_no_color_leaves_no_hue() -> None:
    with PseudoTerminal(GELU, (80, 24), environment={"NO_COLOR": "1", "COLORTERM": "truecolor"}) as terminal:
        terminal.until("Graft")
        terminal.press("q")
        assert terminal.ended() == 0
        shades = re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", terminal.seen)
        assert all(red == green == blue for red, green, blue in shades)


def test_two_workbenches_agree_on_the_runs() -> None:
    """Both see a run come, end and be judged that neither has started."""
    with PseudoTerminal(GELU, (120, 40)) as one, PseudoTerminal(GELU, (80, 24)) as other:
        for terminal in (one, other):
            terminal.until("Graft")
            terminal.press("r")
            terminal.until("0 runs")
        fake = FakeRun(settings.runs_root(), created=time.time())
        fake.hold()
        fake.begin().train(5_000_000)
        for terminal in (one, other):
            terminal.until("19 %")
        assert fake._lock is not None
        os.close(fake._lock)
        fake.finish()
        for terminal in (one, other):
            terminal.until("✓ finished")
            terminal.press("q")
            assert terminal.ended() == 0
