"""Where benchmarks leave their figures."""

import json
import os
import platform
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def store(name: str, figures: Any) -> None:
    """Writes ``results/NAME.json``: the figures and what they were measured on."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"machine": _machine(), "figures": figures}, indent=1) + "\n")
    print(f"figures: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def stored(name: str) -> list[dict[str, Any]]:
    """The lines that ``store`` left earlier on such a machine; none where there are none."""
    path = FOLDER / f"{name}.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    return found["figures"] if found.get("machine") == _machine() else []


def _machine() -> dict[str, Any]:
    return {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
