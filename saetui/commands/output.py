"""What sub-commands print: data on stdout, narration on stderr."""

import json
import math
import sys
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click

from saetui.errors import UserError
from saetui.reports.document import Table


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


def say(message: str) -> None:
    """A line of narration on stderr."""
    click.echo(message, err=True)


def write_file(path: Path, text: str) -> None:
    """Writes ``text`` and a newline; UserError where that cannot be."""
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def print_table(table: Table) -> None:
    """Prints a table on stdout, no wider than a terminal; in a pipe nothing is cut."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 300)
    shown = RichTable(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=table.title,
        title_justify="left",
        title_style="bold",
    )
    for heading in table.headings:
        shown.add_column(heading)
    for row in table.rows:
        shown.add_row(*map(Text, row))
    console.print(shown)
    if table.note:
        console.print(table.note, style="dim", markup=False, highlight=False)
