"""Flat records as CSV, JSON or Markdown."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

Records = Sequence[Mapping[str, Any]]
"""Plain values by heading; a heading that a record lacks is an empty cell."""


def headings(records: Records) -> list[str]:
    return list(dict.fromkeys(key for one in records for key in one))


def csv_text(records: Records) -> str:
    """With a heading, without a newline at the end."""
    text = io.StringIO()
    writer = csv.DictWriter(text, headings(records), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().rstrip("\n")


def json_text(records: Records) -> str:
    """A list of objects, one a line."""
    lines = ",\n".join(json.dumps(dict(one), ensure_ascii=False) for one in records)
    return f"[\n{lines}\n]"


def markdown_text(records: Records) -> str:
    """A table; what Markdown would read as its own is escaped."""
    titles = headings(records)
    rows = [titles, ["---"] * len(titles)]
    rows += [[_cell(one.get(title)) for title in titles] for one in records]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    for char in "\\|*_`<":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split("\n"))


FORMATS = {"csv": csv_text, "json": json_text, "md": markdown_text}
