"""Copying text out of a terminal that may be far away, and saying honestly where it went."""

import asyncio
import base64
import os
import subprocess
from contextlib import suppress
from typing import Protocol

from saetui import settings

OSC52_MAX = 74_994
"""Encoded bytes that terminals take in one OSC 52; the limit that k9s found to be safe."""
PATIENCE_S = 0.5
"""For tmux, whose server answers in milliseconds unless it hangs."""


class _Clipboard(Protocol):
    def copy_to_clipboard(self, text: str) -> None: ...


async def copy(app: _Clipboard, text: str) -> str:
    """Copies ``text`` by the way that can work here and into a file always; returns what to tell.

    Inside tmux an application's own OSC 52 is lost by default (``set-clipboard external``), while
    ``tmux load-buffer -w`` reaches the outer terminal. OSC 52 is never acknowledged, hence the file.
    """
    data = text.encode("utf-8", "replace")
    kept = await asyncio.to_thread(_into_file, data)
    if os.environ.get("TMUX") and await asyncio.to_thread(_through_tmux, data):
        return f"copied through tmux, {kept}"
    if len(base64.b64encode(data)) <= OSC52_MAX:
        app.copy_to_clipboard(data.decode())
        return f"copied (OSC 52, if your terminal takes it), {kept}"
    return f"too long for the terminal's clipboard: not copied there, {kept}"


def _into_file(data: bytes) -> str:
    path = settings.state_root() / "clipboard.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        return f"but not to {path}: {error.strerror}"
    return f"and to {path}"


def _through_tmux(data: bytes) -> bool:
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["tmux", "load-buffer", "-w", "-"], input=data, capture_output=True, timeout=PATIENCE_S
        )
        return done.returncode == 0
    return False
