"""The engine as the workbench sees it: what is asked of it, how it is doing, and how one is had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

Progress = Callable[[dict[str, Any]], None]


class Engine(Protocol):
    """What is asked of ``saetui.engine.client.EngineClient``; a test's double stands in for it here."""

    async def start(self) -> None: ...
    async def restart(self) -> None: ...
    async def request(self, op: str, on_progress: Progress | None = None, **args: Any) -> Any: ...
    async def close(self) -> None: ...


Connect = Callable[[Callable[[dict[str, Any]], None], Callable[[str], None]], Engine]
"""Makes an engine client from its two callbacks: for notices, and for the engine's death."""


class Phase(StrEnum):
    LOADING = "loading"
    READY = "ready"
    DIED = "died"
    REFUSED = "refused"
    """The engine lives, but could not open what the setup names."""


@dataclass(frozen=True)
class EngineState:
    phase: Phase
    line: str
    """For the status line; what to do included, where there is something to do."""


def connect_engine(on_notice: Callable[[dict[str, Any]], None], on_death: Callable[[str], None]) -> Engine:
    from saetui.engine.client import EngineClient

    return EngineClient(on_notice, on_death)
