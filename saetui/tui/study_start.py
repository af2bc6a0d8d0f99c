"""Starting a study from its file: what that comes to depends on the SAE, which the workbench never loads."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from saetui.errors import UserError
from saetui.quantities import duration, short
from saetui.setup import Setup
from saetui.studies.store import Plan

if TYPE_CHECKING:
    from saetui.tui.run_watch import RunWatch


async def plan_study(words: Sequence[str]) -> Plan:
    """What ``saetui study run`` with these words comes to; nothing is started. It takes some seconds, and
    cancelling the task ends it. UserError with what the command said."""
    return Plan.from_dict(json.loads(await _study_run(*words, "--dry-run", "--json")))


async def start_study(words: Sequence[str]) -> str:
    """``saetui study run`` with these words, detached; the study's name. As ``plan_study``."""
    return await _study_run(*words, "--detach")


def planned(plan: Plan, watch: RunWatch) -> str:
    """``12 runs on synthetic, of 614k tokens each: about 14m05s one after another``, by the runs that have
    been; it reads their files."""
    runs = len(plan.cells)
    model = plan.setup["model"].rstrip("/").rpartition("/")[2]
    tokens = {_tokens(cell.recipe) for cell in plan.cells}
    least, most = short(min(tokens)), short(max(tokens))
    each = least if least == most else f"{least} to {most}"
    line = f"{runs} run{'s' if runs > 1 else ''} on {model}, of {each} tokens each"
    seconds = _seconds(plan, watch)
    if seconds is None:
        return f"{line}; how long that takes is known once one like them is finished"
    return f"{line}: about {duration(seconds)} one after another, by runs that have been"


def _seconds(plan: Plan, watch: RunWatch) -> float | None:
    made = Setup.from_dict(plan.setup).made
    if plan.kind == "graft":
        each = watch.graft_seconds(made)
        return None if each is None else each * len(plan.cells)
    widths = {cell.recipe["d_sae"] for cell in plan.cells}
    paces = {d_sae: pace for d_sae in widths if (pace := watch.pace(made, d_sae))}
    if len(paces) < len(widths):
        return None
    return sum(
        paces[recipe["d_sae"]].seconds(recipe["tokens"], recipe["d_sae"])
        for recipe in (cell.recipe for cell in plan.cells)
    )


def _tokens(recipe: dict[str, int]) -> int:
    return recipe.get("tokens") or recipe["steps"] * recipe["batch_size"]  # a graft counts in steps


async def _study_run(*words: str) -> str:
    """What the command prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "saetui", "study", "run", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        said = errors.decode(errors="replace").strip().splitlines()
        line = said[-1] if said else f"saetui study run ended with exit code {process.returncode}"
        raise UserError(line.removeprefix("saetui: "))
    return out.decode().strip()
