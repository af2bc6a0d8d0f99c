"""What the monitor and the runs list ask of the application, which knows how to do it."""

from typing import Literal

from textual.message import Message

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
