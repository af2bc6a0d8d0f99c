"""The processes that train one SAE together, one on each device: ranks of a ``torch.distributed`` group.

Every rank holds the whole SAE and reads the same stream of activations in the same order; of each batch it
takes its share, and gradients and statistics are summed over the ranks before the update, which all of them
then make alike. So a run over several devices follows the run on one, but for the order in which sums are
rounded, and its checkpoints are the same: it may be resumed on as many devices as there are then.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from saetui.runs.context import Control, RunContext

T = TypeVar("T")

LISTEN_S = 0.1
"""Seconds between two steps at which the ranks agree on whether to leave."""


class PeerLost(RuntimeError):
    """Another rank is gone, or has failed: whoever watches the ranks knows more."""


class Ranks:
    """This process's place among the ranks; a process by itself is rank 0 of 1."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank, self.count = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    @property
    def leads(self) -> bool:
        """Whether this is the rank that reports, evaluates and saves."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        """Which of ``n`` tokens of a batch are this rank's."""
        return slice(n * self.rank // self.count, n * (self.rank + 1) // self.count)

    def add_up(self, tensor: Tensor) -> None:
        """Replaces ``tensor`` by its sum over the ranks, the same bits on each."""
        self._together(lambda: dist.all_reduce(tensor))

    def agreed(self, value: T) -> T:
        """Rank 0's value, which can be pickled."""
        values = [value]
        if self.count > 1:
            self._together(lambda: dist.broadcast_object_list(values, src=0, device=torch.device("cpu")))
        return values[0]

    def gathered(self, value: T) -> list[T]:
        """Every rank's value, in order of rank."""
        values: list[Any] = [value] * self.count
        if self.count > 1:
            self._together(lambda: dist.all_gather_object(values, value))
        return values

    def shared(self, tensor: Tensor, source: int) -> None:
        """Fills ``tensor`` with that of rank ``source``."""
        self._together(lambda: dist.broadcast(tensor, src=source))

    def _together(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise PeerLost(f"another rank does not answer ({error})") from error


class Listener:
    """What the run is asked to do, heard by all ranks before the same step.

    By itself a process looks whenever it likes. Several must agree, which costs a message: they do so every
    few steps, as many as rank 0 makes in ``LISTEN_S``.
    """

    def __init__(self, context: RunContext, ranks: Ranks) -> None:
        self._context, self._ranks = context, ranks
        self._step: int | None = None
        self._next = 0
        self._since = 0.0

    def asked(self, step: int) -> Control:
        """What to do instead of step ``step``; to be called by every rank before every step."""
        if self._ranks.count == 1:
            return self._context.control()
        if step < self._next:
            return "go"
        asked, self._next = self._ranks.agreed((self._context.control(), step + self._steps(step)))
        return asked

    def listen(self) -> None:
        """Has the ranks agree before the coming step."""
        self._next = 0

    def _steps(self, step: int) -> int:
        now, since, before = time.monotonic(), self._since, self._step
        self._since, self._step = now, step
        if before is None or step <= before:
            return 1
        return max(1, min(1000, int(LISTEN_S * (step - before) / (now - since))))
