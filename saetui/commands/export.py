"""``saetui export``: a run as one document, for a notebook, a paper's appendix or a colleague."""

import hashlib
import json
from pathlib import Path
from typing import Any

import click

from saetui.commands.output import jsonable, say
from saetui.commands.progress import duration_text, tokens_text
from saetui.commands.verdict_text import review_text
from saetui.errors import UserError
from saetui.runs.metrics import curve
from saetui.runs.store import Run, find_run
from saetui.settings import runs_root
from saetui.split.review import read_review

EVALUATION_COLUMNS = ("tokens", "fvu", "l0", "ce", "ce_sae", "ce_zero", "ce_recovered")
LAST_COLUMNS = ("tokens", "loss", "mse", "l1", "l0", "fvu", "dead", "kept", "tokens_per_s")


@click.command()
@click.argument("run_id", metavar="ID")
@click.option("--format", "form", type=click.Choice(["md", "json"]), default="md", show_default=True)
@click.option("--output", "-o", metavar="FILE", help="file to write  [default: stdout]")
def command(run_id: str, form: str, output: str | None) -> None:
    """Write the run ID as Markdown or JSON: recipe, curve, verdict with its evidence, versions, hashes."""
    run = find_run(runs_root(), run_id)
    values = gather(run)
    text = (
        json.dumps(jsonable(values), indent=1, ensure_ascii=False)
        if form == "json"
        else markdown(run, values)
    )
    if output is None:
        click.echo(text)
        return
    try:
        Path(output).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from None
    say(f"{run.id} is in {output}")


def gather(run: Run) -> dict[str, Any]:
    """Everything that is exported, as plain values."""
    manifest = run.manifest
    records = curve(run.read_metrics())
    training = [r for r in records if "loss" in r and not r.get("eval")]
    return {
        "id": run.id,
        "kind": manifest.kind,
        "state": run.state(),
        "created": manifest.created,
        "note": manifest.note,
        "setup": manifest.setup,
        "recipe": manifest.recipe,
        "versions": manifest.versions,
        "curve": {
            "records": len(training),
            "first": training[0] if training else None,
            "last": training[-1] if training else None,
            "evaluations": [
                {key: r[key] for key in EVALUATION_COLUMNS if key in r} for r in records if r.get("eval")
            ],
        },
        "events": run.read_events(),
        "verdict": read_review(run.folder).to_dict(),
        "files": [
            {"path": str(path.relative_to(run.folder)), "bytes": path.stat().st_size, "sha256": _sha256(path)}
            for folder in ("sae", "graft")
            for path in sorted((run.folder / folder).glob("*"))
            if path.is_file()
        ],
    }


def markdown(run: Run, values: dict[str, Any]) -> str:
    """The same as a document to read."""
    recipe, training = values["recipe"], values["curve"]
    lines = [f"# {values['id']}: {values['kind']} of feature {recipe['target']}", ""]
    if values["note"]:
        lines += [values["note"], ""]
    lines += [f"State: {values['state']}. Verdict: {values['verdict']['result']}.", ""]
    lines += ["## Verdict", "", "```", review_text(read_review(run.folder)), "```", ""]
    lines += ["## Recipe", "", *_table(("option", "value"), [(k, v) for k, v in recipe.items()]), ""]
    lines += [
        "## Setup",
        "",
        *_table(("option", "value"), [(k, v) for k, v in values["setup"].items() if v]),
        "",
    ]
    if training["last"]:
        last = [(key, _number(training["last"][key])) for key in LAST_COLUMNS if key in training["last"]]
        lines += ["## Training", "", *_table(("at the end", "value"), last), ""]
    if training["evaluations"]:
        rows = [[_number(e.get(key)) for key in EVALUATION_COLUMNS] for e in training["evaluations"]]
        lines += ["### Evaluations on held-out rows", "", *_table(EVALUATION_COLUMNS, rows), ""]
    lines += ["## Versions", "", *_table(("package", "version"), list(values["versions"].items())), ""]
    if values["files"]:
        files = [(f["path"], f["bytes"], f["sha256"]) for f in values["files"]]
        lines += ["## Files", "", *_table(("file", "bytes", "sha256"), files), ""]
    if values["events"]:
        start = values["events"][0]["t"]
        events = [(duration_text(e["t"] - start), e["kind"], e.get("message", "")) for e in values["events"]]
        lines += ["## Events", "", *_table(("after", "event", "message"), events), ""]
    return "\n".join(lines).rstrip()


def _table(headings: tuple[str, ...], rows: list[Any]) -> list[str]:
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [
        f"| {' | '.join(headings)} |",
        f"|{'---|' * len(headings)}",
        *(f"| {' | '.join(row)} |" for row in cells),
    ]


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else tokens_text(value) if isinstance(value, int) else str(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
