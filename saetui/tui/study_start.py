"""Starting a study from its file: what that comes to depends on the SAE, which the workbench never loads."""

import asyncio
import sys
from collections.abc import Sequence

from saetui.errors import UserError


async def start_study(words: Sequence[str]) -> str:
    """``saetui study run`` with these words, detached; the study's name. It takes some seconds, and
    cancelling the task ends it. UserError with what the command said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "saetui", "study", "run", *words, "--detach"),
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
