"""The words of a command that does in the shell what a screen shows."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from saetui.setup import Setup

if TYPE_CHECKING:
    from saetui.tui.session import Session


def setup_words(setup: Setup) -> list[str]:
    """The options that name a setup."""
    words: list[str] = []
    for name, flag in (("model", "model"), ("hook_name", "hook"), ("sae", "sae"), ("dataset", "dataset")):
        if value := getattr(setup, name):
            words += [f"--{flag}", value]
    if setup.seq_len is not None:
        words += ["--seq-len", str(setup.seq_len)]
    if setup.device != "auto":
        words += ["--device", setup.device]
    return words


def encoder_words(session: Session, sae: str) -> list[str] | None:
    """The options that name an encoder of the session: its run's id, or its setup. None for a graft that is
    no run yet, which no command can open."""
    from saetui.tui.session import NARROW

    place = session.place(sae)
    if place is None:
        return None
    if place == NARROW:
        return setup_words(session.setup)
    if session.is_run(sae):
        return ["--run", place]
    return setup_words(replace(session.setup, sae=place))


def command(*words: str | int) -> str:
    """``saetui WORDS``, quoted for a shell."""
    return shlex.join(["saetui", *map(str, words)])
