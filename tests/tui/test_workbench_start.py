"""What the workbench needs to start: imports, terminals, bytes, the state that it remembers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saetui import settings
from saetui.errors import UsageError
from saetui.setup import Setup
from saetui.tui.clipboard import copy
from saetui.tui.selection import History, Selected
from saetui.tui.state import State, StateFile
from saetui.tui.terminal import prepare_terminal

HEAVY = ("torch", "numpy", "transformer_lens", "datasets", "saetui.engine.server", "pynvml")


def test_the_first_frame_imports_nothing_heavy() -> None:
    """The app is composed and drawn, headless; then its process is asked what it has loaded."""
    program = """
import sys
from saetui.setup import Setup
from saetui.tui.app import Workbench
Workbench._begin = lambda self: self.exit()
Workbench(Setup(model="gelu-1l")).run(headless=True, size=(200, 60))
print(*sorted(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "saetui.tui.screens.feature" in loaded
    assert not loaded & {*HEAVY, "saetui.engine.client", "click"}


@pytest.mark.parametrize(
    ("interactive", "term", "said"),
    [(False, "xterm-256color", "saetui demo"), (True, "dumb", "TERM=dumb"), (True, None, "TERM=dumb")],
)
def test_where_there_is_no_screen_the_headless_way_is_named(
    interactive: bool, term: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    with pytest.raises(UsageError, match=said):
        prepare_terminal(interactive)


def test_open_without_a_terminal_exits_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "saetui", "open"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "saetui demo" in done.stderr


# -- remembered state


def test_state_survives_and_setups_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "workbench.json"
    StateFile(Setup("real"), path).save(State(feature=3, zoomed=True))
    StateFile(Setup("synthetic"), path).save(State(feature=5))
    assert StateFile(Setup("real"), path).load() == State(feature=3, zoomed=True)
    assert StateFile(Setup("synthetic"), path).load().feature == 5
    assert StateFile(Setup("gelu-1l"), path).load() == State()
    assert [entry.name for entry in tmp_path.iterdir()] == ["workbench.json"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"real": [1]}', '{"real": 3}'])
def test_a_damaged_state_file_is_as_good_as_none_and_is_mended(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "workbench.json"
    path.write_text(damage)
    memory = StateFile(Setup("real"), path)
    assert memory.load() == State()
    memory.save(State(feature=9))
    assert memory.load().feature == 9


# -- history and clipboard


def test_history_goes_back_and_forward_like_a_browser() -> None:
    a, b, c = (Selected("narrow", i) for i in range(3))
    history = History(limit=2)
    assert history.current is None and history.step(-1) is None
    for selected in (a, a, b):
        history.visit(selected)
    assert history.step(-1) == a and history.step(-1) is None and history.current == a
    history.visit(c)
    assert history.step(1) is None and history.recent(5) == [c, a]
    history.visit(b)
    assert history.recent(5) == [b, c]


class Osc52:
    def __init__(self) -> None:
        self.text = ""

    def copy_to_clipboard(self, text: str) -> None:
        self.text = text


async def test_copying_says_which_way_it_went(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    terminal, path = Osc52(), settings.state_root() / "clipboard.txt"
    monkeypatch.delenv("TMUX", raising=False)
    assert "OSC 52" in await copy(terminal, "multi-") and terminal.text == "multi-"
    assert path.read_text() == "multi-"
    assert "too long" in await copy(terminal, "x" * 60_000) and len(path.read_text()) == 60_000
    tmux = tmp_path / "tmux"
    tmux.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments; cat > {tmp_path}/buffer\n')
    tmux.chmod(0o755)
    monkeypatch.setenv("TMUX", "/tmp/socket,1,0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert "through tmux" in await copy(terminal, "long-")
    assert (tmp_path / "buffer").read_text() == "long-"
    assert (tmp_path / "arguments").read_text() == "load-buffer -w -\n"


async def test_a_full_disk_and_a_dead_tmux_do_no_harm_to_copying(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Osc52()
    monkeypatch.setenv("TMUX", "/tmp/nowhere,1,0")

    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("tmux", 0.5)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("saetui.tui.clipboard.subprocess.run", hang)
    monkeypatch.setattr(Path, "write_bytes", full)
    said = await copy(terminal, "multi-")
    assert "OSC 52" in said and "No space left" in said and terminal.text == "multi-"
