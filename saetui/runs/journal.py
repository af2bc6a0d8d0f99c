"""The writing end of an append-only file of JSON lines; ``tail`` is the reading end.

One process writes a journal at a time (it holds the run's lock), any number read it. Each record goes
out in a single ``write``, so that a reader sees whole lines but for the last, and carries ``v`` (the
format, 1), ``i`` (rising by one, across restarts too) and ``t`` (Unix time, seconds).
"""

import json
import math
import os
import time
from pathlib import Path
from typing import Any, Self

_TAIL = 1 << 16


def _finite(value: Any) -> Any:
    """``value`` with NaN and infinities, which JSON does not have, as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _line(record: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(record), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"


class Journal:
    """Appends records to ``path``, which is created if need be.

    A tail without its newline (the last writer died in the middle of a record) gets one first, so that
    it spoils no record but itself. OSError where the disk takes no more.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._torn, self._next = self._read_end()

    def _read_end(self) -> tuple[bool, int]:
        """Whether the file ends within a record, and the number that the next record gets."""
        end, block = os.fstat(self._fd).st_size, b""
        while len(block) < end:
            start = max(0, end - len(block) - _TAIL)
            block = os.pread(self._fd, end - len(block) - start, start) + block
            # The first line of a block that does not begin the file may be cut: it does not count.
            lines = block.split(b"\n")[0 if start == 0 else 1 :]
            for line in reversed(lines):
                try:
                    return not block.endswith(b"\n"), json.loads(line)["i"] + 1
                except (ValueError, KeyError, TypeError):
                    continue
        return bool(block) and not block.endswith(b"\n"), 0

    def append(self, **values: Any) -> dict[str, Any]:
        """Writes one record, unsynced, and gives it back with ``v``, ``i`` and ``t``."""
        record = {"v": 1, "i": self._next, "t": round(time.time(), 3), **values}
        line = _line(record)
        data = b"\n" + line if self._torn else line
        self._torn = True  # until all of it is out
        while data:  # once: only a disk that fills up takes a part, and then the rest raises the reason
            data = data[os.write(self._fd, data) :]
        self._torn = False
        self._next += 1
        return record

    def sync(self) -> None:
        """Makes everything appended so far survive a power cut."""
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
