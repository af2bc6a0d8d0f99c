"""What the workbench remembers from one session to the next.

It is written whenever it changes, not on the way out: a workbench may be killed.
"""

import contextlib
import json
import os
from collections import deque
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from saetui import settings
from saetui.setup import Setup
from saetui.tui.disk import write_later


@dataclass
class State:
    """The memory of one setup (model, hook, SAE); ``None`` and empty mean: the setup's own default."""

    sae: str = ""
    """Which SAE the feature belongs to, as the engine names it; empty: the narrow one."""
    feature: int | None = None
    features: int | None = None
    """Of the narrow SAE, when it was last open: one can go through them before the engine has opened it."""
    prompt: str = ""
    pane: int = 1
    zoomed: bool = False
    beside: bool = False
    leading: bool = True
    """Whether the panes follow the walk over a prompt's tokens."""
    hinted: bool = False
    """The first steps were taken: no more hints."""


class StateFile:
    """The states of all setups in one JSON file; one workbench writes it at a time, the last wins."""

    def __init__(self, setup: Setup, path: Path | None = None) -> None:
        self.path = path or settings.state_root() / "workbench.json"
        self._key = " ".join(filter(None, (setup.model, setup.hook_name, setup.sae)))
        self._saved = ""
        self._newest: deque[State] = deque(maxlen=1)
        """What is to be written, until it is."""

    def load(self) -> State:
        """The last state, or a fresh one; a file that cannot be read is as good as none."""
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))[self._key]
            known = {name: values[name] for name in (f.name for f in fields(State)) if name in values}
            state = State(**known)
        except (OSError, ValueError, KeyError, TypeError):
            return State()
        return state

    def save_later(self, state: State) -> None:
        """Without waiting for the disk; of several states that it has not come to only the last is written.
        Where it takes none, nothing is remembered, and nobody is bothered with it."""
        self._newest.append(state)
        write_later(self._save_newest)

    def _save_newest(self) -> None:
        with contextlib.suppress(IndexError, OSError):
            self.save(self._newest.pop())

    def save(self, state: State) -> None:
        """Replaces the file atomically. OSError when it cannot be written."""
        text = json.dumps(asdict(state))
        if text == self._saved:
            return
        everything: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):  # the first save, or mends a damaged file
            everything = dict(json.loads(self.path.read_text(encoding="utf-8")))
        everything[self._key] = asdict(state)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(everything, ensure_ascii=False, indent=1), encoding="utf-8")
        temporary.replace(self.path)
        self._saved = text
