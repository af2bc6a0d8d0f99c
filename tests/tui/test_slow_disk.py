"""No key waits for the disk: threads read and write, the event loop's own thread touches no file."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event

import pytest

from saetui import settings
from saetui.tui import disk
from saetui.tui.screens.monitor import MonitorScreen
from saetui.tui.screens.overlay import OverlayScreen
from saetui.tui.screens.review import ReviewScreen
from saetui.tui.screens.runs import RunsScreen
from saetui.tui.screens.split_report import SplitReportScreen
from saetui.tui.state import State, StateFile
from tests.tui.bench import GELU, Bench, bench, finished_graft
from tests.tui.disk_watch import disk_watch
from tests.tui.fabricate import several_runs
from tests.tui.snapshot import screen_text


async def _through_the_panes(it: Bench) -> None:
    await it.press(
        "tab", "z", "z", "n", "N", "b", "m", "x", "enter", "o", "s", "escape", "slash", "a", "escape"
    )
    await it.press("C", "e", "c")
    assert list(it.app._notifications)[-1].message.startswith("written: ")


async def _through_the_runs(it: Bench) -> None:
    await it.press("r")
    await it.wait_for(lambda: "1 running" in screen_text(it.app))
    await it.press("down", "enter")
    await it.wait_for(lambda: "of 26.2M tokens" in screen_text(it.app))
    await it.press("left_square_bracket")
    await it.wait_for(lambda: "✗ crashed" in screen_text(it.app))
    assert isinstance(it.app.screen, MonitorScreen)
    await it.press("o")
    assert isinstance(it.app.screen, OverlayScreen)
    await it.press("escape", "escape", "space", "o", "o")
    assert isinstance(it.app.screen, OverlayScreen)
    await it.press("escape", "escape")
    assert isinstance(it.app.screen, RunsScreen)


async def _through_a_verdict(it: Bench) -> None:
    await it.press("4", "o", "v")
    assert isinstance(it.app.screen, ReviewScreen)
    await it.press("y", "escape", "R")
    assert isinstance(it.app.screen, SplitReportScreen)
    await it.press("escape", "V")


@pytest.mark.parametrize("journey", [_through_the_panes, _through_the_runs, _through_a_verdict])
async def test_keys_touch_no_file(
    journey: Callable[[Bench], Awaitable[None]], isolated_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several_runs(settings.runs_root())
    finished_graft(target=0)
    (here := isolated_places / "here").mkdir()
    monkeypatch.chdir(here)
    async with bench(size=(200, 55)) as it:
        await it.wait_for(lambda: it.app.watch_runs.runs)
        with disk_watch(isolated_places) as touched:
            await journey(it)
    assert not touched


def test_the_watch_sees_this_thread_and_no_other(tmp_path: Path) -> None:
    with disk_watch(tmp_path) as touched:
        disk.write_later((tmp_path / "a").write_text, "a").result(30)
        assert not touched
        (tmp_path / "a").read_text()
        (tmp_path / "a").stat()
    assert [line.partition(":")[0] for line in touched] == ["open a", "stat a"]


def test_writes_keep_their_order_and_of_waiting_states_the_last_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, written, go = StateFile(GELU, tmp_path / "state.json"), list[int](), Event()
    save = file.save

    def noted(state: State) -> None:
        written.append(state.pane)
        save(state)

    monkeypatch.setattr(file, "save", noted)
    disk.write_later(go.wait)
    for pane in (1, 2, 3):
        file.save_later(State(pane=pane))
    disk.write_later(written.append, 4)
    assert not written  # and nobody waited
    go.set()
    disk.flush(30)
    assert written == [3, 4]
    assert file.load().pane == 3


def test_what_is_being_written_at_a_hang_up_is_written(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, threading\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # nohup's children ignore it
        "from saetui.tui import disk, terminal\n"
        "terminal.end_with_the_terminal(os.pipe()[0])\n"
        "disk.write_later(lambda: open(sys.argv[1], 'w').write(sys.stdin.readline()))\n"
        "print('busy', flush=True)\n"
        "threading.Event().wait()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "kept")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "busy\n"
        process.send_signal(signal.SIGHUP)
        process.stdin.write("all of it\n")
        process.stdin.flush()
        assert process.wait(30) == -signal.SIGHUP
    assert (tmp_path / "kept").read_text() == "all of it\n"
