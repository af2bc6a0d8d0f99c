"""Bookmarks and notes: what a person keeps of features, for every SAE of every setup. Without torch.

One file of JSON lines a setup, to which each change is appended in a single write: two workbenches on the
same model take nothing from each other, and each finds what the other wrote when it looks again.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from saetui import settings
from saetui.errors import UsageError
from saetui.runs.journal import Journal
from saetui.runs.tail import Tail
from saetui.setup import Setup

NARROW = "narrow"
"""What the setup's own SAE is called here."""


@dataclass(frozen=True)
class Mark:
    """What is kept of a feature. ``sae``: ``narrow``, a run's id, or the path of another SAE."""

    sae: str
    feature: int
    bookmarked: bool = False
    note: str = ""

    def __bool__(self) -> bool:
        """Whether anything is kept."""
        return self.bookmarked or bool(self.note)


def check_exists(feature: int, size: int, sae: str) -> None:
    """UsageError where ``sae``, of ``size`` features, has no such feature: nothing is kept of what is not."""
    if feature >= size:
        raise UsageError(f"there is no feature {feature}: {sae} has features 0 to {size - 1}")


class FeatureMarks:
    """The marks of one setup: of a model, a hook point and a narrow SAE.

    ``t`` of the records is the time of the change. A line that cannot be read is passed over.
    """

    def __init__(self, setup: Setup) -> None:
        self.path = settings.marks_root() / f"{_name(setup)}.jsonl"
        self._tail = Tail(self.path)
        self._marks: dict[tuple[str, int], Mark] = {}
        self._restarts = 0
        self._reading = Lock()
        self.refresh()

    def stale(self) -> bool:
        """Whether the file is not as it was when it was last read; asks for its size and date only."""
        return _stamp(self.path) != self._stamp

    def refresh(self) -> bool:
        """Takes in what was written since, here or by another process; whether there was anything. From any
        thread, as writing is."""
        with self._reading:
            return self._read()

    def _read(self) -> bool:
        self._stamp = _stamp(self.path)
        try:
            records = self._tail.poll()
        except OSError:  # a file system that is away for a moment; the next look may find it back
            return False
        if self._tail.restarts != self._restarts:
            self._restarts, self._marks = self._tail.restarts, {}
        for record in records:
            self._take(record)
        return bool(records)

    def of(self, sae: str, feature: int) -> Mark:
        """What is kept of a feature; an empty mark where nothing is."""
        return self._marks.get((sae, feature)) or Mark(sae, feature)

    def kept(self) -> list[Mark]:
        """All that is kept, the last changed first."""
        return [mark for mark in reversed(list(self._marks.values())) if mark]

    def bookmark(self, sae: str, feature: int, on: bool) -> None:
        """OSError where the disk takes no more."""
        self._write(sae=sae, feature=feature, bookmarked=on)

    def note(self, sae: str, feature: int, text: str) -> None:
        """Writes the feature's note anew; an empty one takes it away. OSError as above."""
        self._write(sae=sae, feature=feature, note=" ".join(text.split()))

    def _write(self, **change: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with Journal(self.path) as journal:
            journal.append(**change)
            journal.sync()
        self.refresh()

    def _take(self, record: dict[str, Any]) -> None:
        sae, feature = record.get("sae"), record.get("feature")
        if not isinstance(sae, str) or not isinstance(feature, int):
            return
        before = self._marks.pop((sae, feature), Mark(sae, feature))
        changed = {name: record[name] for name in ("bookmarked", "note") if name in record}
        self._marks[sae, feature] = replace(before, **changed)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_size, stat.st_mtime_ns)


def _name(setup: Setup) -> str:
    """A file name that tells setups apart and that a person recognises."""
    parts = [setup.model, setup.hook_name, setup.sae]
    slug = re.sub(r"[^\w.-]+", "-", "-".join(part.rsplit("/", 1)[-1] for part in parts if part))[:60]
    return f"{slug}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:8]}"
