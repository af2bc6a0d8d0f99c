"""Text snapshots: what an app shows, as plain text, compared with a file under ``snapshots/``.

A screen is a grid of characters; a picture of it only adds colour, and differs with every version of
the framework. After a wanted change: ``pytest tests/tui --update-snapshots``, and read the diff.
"""

import difflib
import os
from pathlib import Path

from textual.app import App

FOLDER = Path(__file__).parent / "snapshots"


def screen_text(app: App) -> str:
    """The screen's characters, a line a row, without trailing spaces."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips) + "\n"


def check_snapshot(app: App, name: str) -> None:
    """Compares the screen with ``snapshots/{name}.txt``; writes the file with ``--update-snapshots``."""
    path = FOLDER / f"{name}.txt"
    shown = screen_text(app)
    if os.environ.get("SAETUI_UPDATE_SNAPSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert path.is_file(), f"no snapshot {path.name}: make it with --update-snapshots"
    wanted = path.read_text(encoding="utf-8")
    if shown != wanted:
        diff = difflib.unified_diff(wanted.splitlines(), shown.splitlines(), "wanted", "shown", lineterm="")
        raise AssertionError("\n".join(diff))
