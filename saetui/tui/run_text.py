"""A run in words: its state with a sign and a style, its events, one line each."""

import time
from typing import Any

from saetui.quantities import short, size
from saetui.tui.widgets.canvas import Symbols

SIGNS = {
    "queued": "◌",
    "running": "▶",
    "paused": "‖",
    "finished": "✓",
    "failed": "✗",
    "stopped": "■",
    "crashed": "✗",
    "waiting": "·",
    "judging": "◔",
}
_ASCII_SIGNS = {
    "queued": ".",
    "running": ">",
    "paused": "=",
    "finished": "+",
    "failed": "x",
    "stopped": "#",
    "crashed": "!",
    "waiting": "-",
    "judging": "~",
}
STYLES = {
    "queued": "idle",
    "running": "busy",
    "paused": "idle",
    "finished": "good",
    "failed": "bad",
    "stopped": "idle",
    "crashed": "bad",
    "waiting": "idle",
    "judging": "busy",
}


def state_text(state: str, symbols: Symbols = "braille") -> str:
    """``▶ running``: a sign and a word, so that neither colour nor font is needed."""
    return f"{(_ASCII_SIGNS if symbols == 'ascii' else SIGNS).get(state, '?')} {state}"


def event_line(event: dict[str, Any]) -> str:
    """``14:03:12 checkpoint at 1.05M tokens, 16.8 MiB in 0.2 s``."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.get("t", 0)))
    return f"{clock} {_what(event)}"


def _what(event: dict[str, Any]) -> str:
    kind = str(event.get("kind", "?"))
    message = event.get("message")
    match kind:
        case "launched":
            return f"launched on {event.get('host', '?')}"
        case "running":
            return "running"
        case "checkpoint":
            parts = [f"checkpoint at {short(event.get('tokens'))} tokens"]
            if event.get("bytes"):
                parts.append(size(event["bytes"]))
            if event.get("seconds") is not None:
                parts.append(f"{event['seconds']:.1f} s")
            return ", ".join(parts)
        case "resumed":
            return f"resumed at {short(event.get('tokens'))} tokens"
        case "exit":
            state = str(event.get("state", "ended"))
            return f"{state}: {message}" if message else state
        case _:
            return f"{kind}: {message}" if message else kind


def progress_bar(share: float, width: int, symbols: Symbols = "braille") -> tuple[str, str]:
    """The done and the open part of a bar of ``width`` cells."""
    done = max(0, min(width, round(share * width)))
    full, rest = ("#", ".") if symbols == "ascii" else ("━", "─")
    return full * done, rest * (width - done)
