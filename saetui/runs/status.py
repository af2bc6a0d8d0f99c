"""Where a run stands, in one record: what a list of runs shows of it."""

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from saetui.runs.files import signature
from saetui.runs.launcher import LAUNCH_LINE
from saetui.runs.metrics import Curve
from saetui.runs.queue import DeviceQueue
from saetui.runs.store import Run, State, list_runs
from saetui.runs.tail import last_records
from saetui.split.judging.review import stored_result


@dataclass(frozen=True)
class RunStatus:
    """``created`` is Unix time, ``age_s`` and ``eta_s`` are seconds. None: not known, or does not apply."""

    id: str
    kind: str
    state: State
    target: int
    """The feature that is split."""
    model: str
    sae: str
    """The narrow SAE's name; empty: the embedded world's own."""
    summary: str
    """The recipe in a few words."""
    note: str
    created: float
    age_s: float
    tokens: int
    tokens_total: int | None
    loss: float | None
    fvu: float | None
    l0: float | None
    tokens_per_s: float | None
    eta_s: float | None
    ahead: int | None
    """Of a queued run: the runs that get the device, or have it, before it."""
    verdict: str | None
    """``2 of 3`` children, once judged; ``(2 of 3)`` as long as only the judge has said so."""
    message: str | None
    """Why it failed, crashed or never began: one line."""

    @property
    def progress(self) -> float | None:
        """Share of the tokens trained on, 0 to 1."""
        return min(1.0, self.tokens / self.tokens_total) if self.tokens_total else None


def status(run: Run) -> RunStatus:
    """Where ``run`` stands now. UserError where its manifest is missing or damaged."""
    manifest = run.manifest
    recipe = manifest.recipe
    state = run.state()
    last = _last_metrics(run.metrics_path, *signature(run.metrics_path))
    total = recipe.get("tokens") or recipe["steps"] * recipe["batch_size"]  # a graft counts in steps
    tokens = last.get("tokens", 0)
    speed = last.get("tokens_per_s") if state == "running" else None
    # The run says it once it can: its first tokens a second hold what is paid only once.
    eta = last.get("eta_s") if state == "running" else None
    return RunStatus(
        id=run.id,
        kind=manifest.kind,
        state=state,
        target=recipe["target"],
        model=Path(manifest.setup["model"]).name,
        sae=Path(manifest.setup.get("sae") or "").name,
        summary=summary(manifest.kind, recipe),
        note=manifest.note,
        created=manifest.created,
        age_s=max(0.0, time.time() - manifest.created),
        tokens=tokens,
        tokens_total=total,
        loss=last.get("loss"),
        fvu=last.get("fvu"),
        l0=last.get("l0"),
        tokens_per_s=speed,
        eta_s=eta,
        ahead=DeviceQueue(run).ahead() if state == "queued" else None,
        verdict=_verdict(run),
        message=_message(run, state),
    )


def list_status(root: Path) -> list[RunStatus]:
    """``status`` of the runs in ``root``, newest first."""
    return [status(run) for run in list_runs(root)]


def summary(kind: str, recipe: dict[str, Any]) -> str:
    """A recipe in a few words, axes first: ``4096 · narrow · filtered row · standard``."""
    if kind == "graft":
        return f"{recipe['children']} children · {recipe['steps']} steps"
    data = f"filtered {recipe['granularity']}" if recipe["data"] == "filtered" else "all data"
    return f"{recipe['d_sae']} · {recipe['init']} · {data} · {recipe['loss'].replace('_', ' ')}"


def _message(run: Run, state: State) -> str | None:
    last = run.last_event()
    if last is None:
        return "never launched" if state == "stopped" else None
    if state == "failed":
        return last.get("message")
    if state != "crashed":
        return None
    said = _last_log_line(run.log_path)
    if last["kind"] == "launched":
        return f"could not start: {said or 'worker.log says nothing'}"
    return (
        f"its process is gone (killed, or the machine went down){f'; it last said: {said}' if said else ''}"
    )


def _last_log_line(path: Path) -> str | None:
    """The last line that the process of the latest launch printed."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return None
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return None if not last or last.startswith(LAUNCH_LINE) else last


@lru_cache(1024)
def _last_metrics(path: Path, size: int, changed: int) -> dict[str, Any]:
    """The latest value of every metric, resumes taken into account."""
    records = last_records(path) if size else []
    standing = Curve()
    standing.extend(records)
    latest: dict[str, Any] = {}
    for record in standing.records:
        if "loss" in record:  # a process that does not know yet how long it will take: no earlier one does
            latest.pop("eta_s", None)
        latest.update(record)
    if records and records[-1].get("kind") == "resumed":
        latest["tokens"] = records[-1]["tokens"]
    return latest


def _verdict(run: Run) -> str | None:
    if (result := stored_result(run.folder)) is None:
        return None
    verdict = f"{result.passed} of {result.children}"
    return verdict if result.by == "person" else f"({verdict})"
