"""The metrics of a run as one curve."""

from collections.abc import Iterable
from typing import Any


class Curve:
    """Collects metrics records, as they come, into one consistent curve.

    A resumed run goes on from its last checkpoint, so what it had reported beyond that is trained, and
    reported, a second time. The raw file keeps both; a ``{"kind": "resumed", "tokens": T}`` record
    between them supersedes the earlier records with ``tokens > T``, and is itself no point of the curve.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        """Training and evaluation records (``"eval": true``), in rising order of tokens."""

    def extend(self, records: Iterable[dict[str, Any]]) -> bool:
        """Takes in the next records; True where that took back earlier ones."""
        took_back = False
        for record in records:
            if record.get("kind") != "resumed":
                self.records.append(record)
                continue
            while self.records and self.records[-1].get("tokens", 0) > record["tokens"]:
                self.records.pop()
                took_back = True
        return took_back


def curve(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """``records`` of a whole file without those that a resume superseded."""
    whole = Curve()
    whole.extend(records)
    return whole.records
