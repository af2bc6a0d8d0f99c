"""Copying text out of a terminal that may be far away, and saying honestly where it went."""

import base64
import os
import shutil
import subprocess
from typing import Protocol

from saetui import settings

OSC52_MAX = 74_994
"""Encoded bytes that terminals take in one OSC 52; the limit that k9s found to be safe."""


class _Clipboard(Protocol):
    def copy_to_clipboard(self, text: str) -> None: ...


def copy(app: _Clipboard, text: str) -> str:
    """Copies ``text`` by the way that can work here and into a file always; returns what to tell.

    Inside tmux an application's own OSC 52 is lost by default (``set-clipboard external``), while
    ``tmux load-buffer -w`` reaches the outer terminal. OSC 52 is never acknowledged, hence the file.
    """
    path = settings.state_root() / "clipboard.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if os.environ.get("TMUX") and shutil.which("tmux"):
        done = subprocess.run(
            ["tmux", "load-buffer", "-w", "-"], input=text.encode(), capture_output=True, timeout=2
        )
        if done.returncode == 0:
            return f"copied through tmux, and to {path}"
    if len(base64.b64encode(text.encode())) <= OSC52_MAX:
        app.copy_to_clipboard(text)
        return f"copied (OSC 52, if your terminal takes it), and to {path}"
    return f"too long for the terminal's clipboard: copied to {path}"
