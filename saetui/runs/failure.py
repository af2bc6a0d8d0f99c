"""Why a run failed, as one line for a person."""

import re

from saetui.errors import UserError
from saetui.runs.files import DISK_FULL


def failure_line(error: Exception) -> str:
    """What happened and what to do. The traceback belongs in the log."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"no room to write ({error.strerror}); make room and resume the run"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which must not be imported to tell
        return _out_of_gpu_memory(str(error))
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}; the traceback is in worker.log"


def _out_of_gpu_memory(said: str) -> str:
    asked = re.search(r"allocate ([\d.]+ \wi?B)", said)
    free = re.search(r"of which ([\d.]+ \wi?B) is free", said)
    sizes = f": {asked[1]} more were needed" if asked else ""
    sizes += f", {free[1]} were free" if free else ""
    return (
        f"the GPU is out of memory{sizes}; resume once others have left it, or begin a run with a smaller "
        "batch_size, buffer_tokens or d_sae, with dtype bfloat16, or on several devices"
    )
