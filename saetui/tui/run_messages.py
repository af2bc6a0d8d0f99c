"""What screens ask of the application about runs: it knows how to do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from textual.message import Message
from textual.screen import Screen

from saetui.tui.widgets.confirm import Confirm

if TYPE_CHECKING:
    from saetui.runs.store import Run


class RunMessage(Message):
    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run


class MonitorRequested(RunMessage):
    """Open the monitor of this run."""


class JudgeRequested(RunMessage):
    """Judge this run, or review its verdict."""


class CurvesRequested(Message):
    """Show the curves of the marked runs."""


class RunControlRequested(RunMessage):
    """Pause, stop or resume this run: ``runs.launcher.request`` and ``resume``. Already confirmed."""

    def __init__(self, run: Run, what: Literal["pause", "stop", "resume"]) -> None:
        super().__init__(run)
        self.what: Literal["pause", "stop", "resume"] = what


def ask_to_stop(screen: Screen[Any], run: Run) -> None:
    """Has the person confirm, and then asks for the stop."""

    def answered(yes: bool | None) -> None:
        if yes:
            screen.post_message(RunControlRequested(run, "stop"))

    question = f"Stop {run.id}? It saves a checkpoint first, so that it can be resumed."
    screen.app.push_screen(Confirm(question, "stop it"), answered)
