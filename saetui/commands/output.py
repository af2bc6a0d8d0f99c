"""What sub-commands print: data on stdout, narration on stderr."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click


def jsonable(value: Any) -> Any:
    """Records as plain JSON values; NaN and infinities become null, which JSON can carry."""
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def emit_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(jsonable(value), ensure_ascii=False))


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Flat records as CSV with a heading, without a newline at the end; a missing value is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(key for one in records for key in one)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().rstrip("\n")


def say(message: str) -> None:
    """A line of narration on stderr."""
    click.echo(message, err=True)
