"""What a trainer sees of the run it works for: where to report, when to leave, what to go on from."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from saetui.runs import checkpoint
from saetui.runs.journal import Journal
from saetui.runs.store import Manifest, Run

if TYPE_CHECKING:
    from torch import Tensor

Control = Literal["go", "pause", "stop"]

_POLL_S = 0.1


class RunStopped(Exception):
    """Raised by a trainer that was asked to stop and has saved its checkpoint."""


class RunPaused(Exception):
    """Raised by a trainer that was asked to pause and has saved its checkpoint."""


class RunContext:
    """The run as its trainer sees it. Whoever makes one must hold the run's lock, or have a run of its
    own: a run has one writer.

    A trainer looks like this::

        def run(context: RunContext) -> None:
            start = context.latest_checkpoint()      # once, before the first metric
            for step in ...:
                if (asked := context.control()) != "go":
                    context.save_checkpoint(tensors, {"tokens": tokens, ...})
                    context.leave(asked)
                ...
                context.metric(tokens=tokens, loss=loss)
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._open()
        self._asked: Control = "go"
        self._next_look = 0.0

    @property
    def folder(self) -> Path:
        return self.run.folder

    @property
    def manifest(self) -> Manifest:
        return self.run.manifest

    def metric(self, **values: Any) -> None:
        """Reports ``values`` (JSON; NaN becomes null), ``tokens`` among them. Costs about 15 µs."""
        self._metrics.append(**values)

    def event(self, kind: str, **values: Any) -> None:
        """Puts on record that something happened; ``message``, where given, is shown to people."""
        self._events.append(kind=kind, **values)

    def sync(self) -> None:
        """Makes all reports so far survive a power cut."""
        self._metrics.sync()
        self._events.sync()

    def ask(self, what: Literal["pause", "stop"]) -> None:
        """The same as a request from outside; safe in a signal handler."""
        self._asked = what

    def control(self) -> Control:
        """What the trainer is asked to do; to be called between steps (it looks at the disk ten times a
        second at most). Once it says ``pause`` or ``stop`` it goes on saying so."""
        now = time.monotonic()
        if self._asked == "go" and now >= self._next_look:
            self._next_look = now + _POLL_S
            for what in ("stop", "pause"):
                if os.path.exists(f"{self.run.control}/{what}"):  # noqa: PTH110  (half the time of a Path)
                    self._asked = what
                    break
        return self._asked

    def leave(self, asked: Control) -> NoReturn:
        """Ends the run as asked, once the trainer has saved: raises RunPaused or RunStopped."""
        raise RunPaused if asked == "pause" else RunStopped

    def save_checkpoint(self, tensors: "dict[str, Tensor]", state: dict[str, Any]) -> None:
        """Saves what the run needs to go on from here, bit by bit: ``tensors`` by name, and ``state``, any
        JSON, in which ``tokens`` says where this is. The last two checkpoints are kept.

        UserError where the disk is full, with what is needed and free: the run then fails, the earlier
        checkpoints stay, and once there is room it can be resumed.
        """
        self.sync()  # no checkpoint may be younger than the reports it follows on
        begun = time.monotonic()
        try:
            place, size = checkpoint.save(self.run.checkpoints, tensors, state)
        except checkpoint.DiskFull as full:
            self.event("disk_full", needed=full.needed, free=full.free, message=str(full))
            raise
        seconds = round(time.monotonic() - begun, 3)
        self.event("checkpoint", tokens=state["tokens"], checkpoint=place.name, bytes=size, seconds=seconds)
        self._events.sync()

    def latest_checkpoint(self) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
        """The tensors (on the CPU) and state to go on from; None where the run begins. To be called once,
        before anything is reported: it marks what was reported beyond the checkpoint as superseded.

        A torn checkpoint is skipped, with an event that names it and the one used in its place.
        """
        torn: list[tuple[str, str]] = []
        found = None
        for place in checkpoint.list_checkpoints(self.run.checkpoints):
            try:
                found = place, *checkpoint.load(place)
                break
            except checkpoint.Torn as how:
                torn.append((place.name, str(how)))
                checkpoint.set_aside(place)
        used = found[0].name if found else None
        for name, how in torn:
            message = (
                f"checkpoint {name} is torn: {how}; {f'going on from {used}' if used else 'starting over'}"
            )
            self.event("checkpoint_torn", checkpoint=name, used=used, message=message)
        tokens = found[2]["tokens"] if found else 0
        if found or self.run.metrics_path.stat().st_size:
            self._metrics.append(kind="resumed", tokens=tokens)
            self.event("resumed", tokens=tokens, checkpoint=used)
        return (found[1], found[2]) if found else None

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Leaves the reports to another process for as long as the body takes: a run has one writer."""
        self.close()
        try:
            yield
        finally:
            self._open()

    def _open(self) -> None:
        self._metrics = Journal(self.run.metrics_path)
        self._events = Journal(self.run.events_path)

    def close(self) -> None:
        self._metrics.close()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
