"""Which files the event loop's thread touches: on a slow file system each of these would hold up a key."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_EVENTS = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime")
_watched: list[tuple[int, str, list[str]]] = []
"""Thread, folder and findings of every watch under way; an audit hook stays until the process ends."""


def _note(what: str, path: Any) -> None:
    if not _watched or not isinstance(path, (str, os.PathLike)):
        return
    for thread, folder, found in list(_watched):
        if threading.get_ident() == thread and os.fspath(path).startswith(folder):
            stack = [
                f"{Path(f.filename).name}:{f.lineno} {f.name}"
                for f in traceback.extract_stack(limit=30)
                if f"{os.sep}saetui{os.sep}" in f.filename and "tests" not in f.filename
            ]
            found.append(f"{what} {os.path.relpath(os.fspath(path), folder)}: " + " < ".join(reversed(stack)))


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in _EVENTS and arguments:
        _note(event, arguments[0])


sys.addaudithook(_audit)
_stat = os.stat


def _watched_stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
    _note("stat", path)
    return _stat(path, *arguments, **options)


@contextmanager
def disk_watch(folder: Path) -> Iterator[list[str]]:
    """What this thread does in ``folder`` meanwhile, a line each, with where it was called."""
    found: list[str] = []
    watch = (threading.get_ident(), str(folder), found)
    os.stat = _watched_stat
    _watched.append(watch)
    try:
        yield found
    finally:
        _watched.remove(watch)
        os.stat = _stat
