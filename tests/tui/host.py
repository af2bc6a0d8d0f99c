"""A bare app around a screen or a widget under test: it keeps the messages that reach it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.message import Message
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from saetui.tui.run_messages import CurvesRequested, RunMessage


class Host(App[None]):
    def __init__(self, content: Screen[Any] | Widget) -> None:
        super().__init__()
        self.content = content
        self.seen: list[Message] = []

    async def on_mount(self) -> None:
        if isinstance(self.content, Screen):
            await self.push_screen(self.content)
        else:
            await self.mount(self.content)
            self.content.focus()

    async def on_event(self, event: Any) -> None:
        await super().on_event(event)

    async def _dispatch_message(self, message: Message) -> None:
        if isinstance(message, (RunMessage, CurvesRequested)) or type(message).__qualname__.split(".")[0] in (
            "ContextList",
            "PromptStrip",
            "Table",
            "LinePlot",
        ):
            self.seen.append(message)
        await super()._dispatch_message(message)


async def until(pilot: Pilot[Any], holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for what a thread brings about; fails, rather than hangs, where it does not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.01)
        await pilot.pause()
    await pilot.pause()
