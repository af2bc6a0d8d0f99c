"""Seconds of a device, whose work a GPU's caller does not wait for."""

import time
from typing import Any

import torch


class Stopwatch:
    """Sums up the time between ``start`` and ``stop``: on a GPU that of the kernels launched between the two,
    for which nobody waits before ``seconds`` is read."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self._device = device
        self._sum = 0.0
        self._started: Any = None
        self._pending: list[tuple[Any, Any]] = []

    def start(self) -> None:
        self._started = self._mark()

    def stop(self) -> None:
        if self._gpu:
            self._pending.append((self._started, self._mark()))
        else:
            self._sum += time.perf_counter() - self._started

    @property
    def seconds(self) -> float:
        if self._pending:
            self._pending[-1][1].synchronize()
            self._sum += sum(start.elapsed_time(stop) for start, stop in self._pending) / 1000
            self._pending.clear()
        return self._sum

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._pending.clear()
        self._sum = value

    def _mark(self) -> Any:
        if not self._gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def wait_for(device: torch.device) -> None:
    """Waits until a GPU has done all that was asked of it, so that what follows is timed by itself."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
