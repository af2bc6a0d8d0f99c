"""What runs were made with, so that somebody else can repeat them."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from saetui.reports.document import Block, Table
from saetui.runs.store import Run

_WEIGHTS = ".safetensors"


def inputs_of(events: Sequence[dict[str, Any]]) -> dict[str, str] | None:
    """What identifies the language model's weights, the narrow SAE and the rows, as the run's process found
    them, by its ``events``; None for a run that did not say."""
    inputs = [event for event in events if event["kind"] == "inputs"]
    return {key: inputs[-1][key] for key in ("model", "sae", "data")} if inputs else None


def files_of(run: Run) -> list[dict[str, Any]]:
    """The files that a run ended with: path in its folder, bytes, SHA-256."""
    return [
        {"path": str(path.relative_to(run.folder)), "bytes": path.stat().st_size, "sha256": _sha256(path)}
        for folder in ("sae", "graft")
        for path in sorted((run.folder / folder).glob("*"))
        if path.is_file()
    ]


def made_with(runs: Iterable[Run]) -> dict[str, dict[str, Any]]:
    """By run: versions, inputs, and files with their hashes."""
    return {
        run.id: {
            "versions": run.manifest.versions,
            "inputs": inputs_of(run.read_events()),
            "files": files_of(run),
        }
        for run in runs
    }


def provenance(runs: Sequence[Run]) -> list[Block]:
    """Versions and inputs of all, as a rule one value each, and the files of weights."""
    made = made_with(runs)
    blocks: list[Block] = []
    for title, key in (("Versions", "versions"), ("Inputs", "inputs")):
        found: dict[str, dict[Any, None]] = {}
        for one in made.values():
            for name, value in (one[key] or {}).items():
                found.setdefault(name, {}).update({value: None} if value else {})
        if found:
            rows = [(name, ", ".join(map(str, known))) for name, known in found.items()]
            blocks.append(Table(title, ("what", "value"), rows))
    files = [
        (run, file["path"], str(file["bytes"]), file["sha256"])
        for run, one in made.items()
        for file in one["files"]
        if file["path"].endswith(_WEIGHTS)
    ]
    return [*blocks, Table("Files", ("run", "file", "bytes", "sha256"), files)] if files else blocks


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
