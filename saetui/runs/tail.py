"""The reading end of an append-only file of JSON lines, while it is being written."""

import json
import os
from pathlib import Path
from typing import Any


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class Tail:
    """Reads ``path`` piece by piece: each ``poll`` gives the records finished since the last one.

    Only a torn tail is tolerated in silence: bytes after the last newline wait for the rest. A line that
    *is* finished and is not a record is damage; it is left out and counted in ``corrupt``. A file that
    is not there yet has no records. A file that shrank or was replaced is read again from its start, and
    ``restarts`` counts that, for those who keep what they read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.corrupt = 0
        self.restarts = 0
        self._offset = 0
        self._inode: int | None = None
        self._rest = b""

    def poll(self) -> list[dict[str, Any]]:
        """The records finished since the last poll, oldest first."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return []
        with file:
            stat = os.fstat(file.fileno())
            if self._inode is not None and (stat.st_ino != self._inode or stat.st_size < self._offset):
                self._offset, self._rest, self.corrupt = 0, b"", 0
                self.restarts += 1
            self._inode = stat.st_ino
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        records: list[dict[str, Any]] = []
        for line in lines:
            if not line:
                continue
            record = _record(line)
            if record is None:
                self.corrupt += 1
            else:
                records.append(record)
        return records


def read_records(path: Path) -> list[dict[str, Any]]:
    """All finished records of the file, oldest first; none where there is no file."""
    return Tail(path).poll()


def last_records(path: Path, size: int = 1 << 16) -> list[dict[str, Any]]:
    """The records in the last ``size`` bytes of the file: where it stands, without reading it all."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return []
    with file:
        start = max(0, file.seek(0, os.SEEK_END) - size)
        file.seek(start)
        data = file.read()
    lines = data.split(b"\n")[0 if start == 0 else 1 : -1]
    return [record for record in map(_record, lines) if record is not None]
