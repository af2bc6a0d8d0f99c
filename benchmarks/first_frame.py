"""How fast the workbench is there and answers keys: at a pseudo-terminal, engine and all.

First frame: from the start of the process to the first pane's title on the terminal, best of ``--runs``.
Key to paint: from a key to the first byte that it changes, median and 99th percentile of ``--keys`` keys: as
the workbench opens (the engine is loading torch on the same machine meanwhile), and with ``--busy`` processes
that multiply matrices, as training does, on the same cores.

    python -m benchmarks.first_frame [--runs 5] [--size 120x40] [--model synthetic] [--keys 200] [--busy 2]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import _results
from tests.tui.pseudo_terminal import SAETUI, PseudoTerminal

REACH_FIRST_MS = 600.0
REACH_KEY_MS = 50.0
SETTLE_S = 12.0
IMPORT_S = 5.0
"""Seconds in which the busy processes have come to their products."""


def open_workbench(size: tuple[int, int], folder: str, model: str) -> PseudoTerminal:
    places = {f"SAETUI_{name}": f"{folder}/{name.lower()}" for name in ("STATE", "RUNS", "CONFIG")}
    return PseudoTerminal([*SAETUI, "--model", model], size, environment=places)


def first_frame(terminal: PseudoTerminal) -> float:
    """Milliseconds until the panes are on the terminal."""
    terminal.until("prompt", 30)
    return (time.perf_counter() - terminal.begun) * 1000


def key(terminal: PseudoTerminal, key: str) -> float:
    """Milliseconds from a key to the first byte after it."""
    while terminal.read(0.03):
        pass
    begun = time.perf_counter()
    terminal.press(key)
    terminal.read(5)
    return (time.perf_counter() - begun) * 1000


def latencies(terminal: PseudoTerminal, keys: int) -> dict[str, float]:
    """Of the tab key, which moves the focus: every press repaints two panes."""
    found = [key(terminal, "\t") for _ in range(keys)]
    hundredths = statistics.quantiles(found, n=100, method="inclusive")
    return {
        "p50": round(hundredths[49], 1),
        "p99": round(hundredths[98], 1),
        "max": round(max(found), 1),
        "keys": keys,
    }


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keeps cores busy as a run does: matrix products, one thread each, in a session that gives way."""
    program = (
        "import torch; from saetui.priority import RUN, give_way; give_way(RUN); torch.set_num_threads(1); "
        "a = torch.randn(1024, 1024)\nwhile True: a @ a"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program], start_new_session=True) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--model", default="synthetic")
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--busy", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    columns, rows = map(int, options.size.split("x"))
    frames: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.runs):
            with open_workbench((columns, rows), folder, options.model) as terminal:
                frames.append(first_frame(terminal))
        with open_workbench((columns, rows), folder, options.model) as terminal:
            first_frame(terminal)
            opening = latencies(terminal, options.keys)
            terminal.read_for(SETTLE_S)
            settled = latencies(terminal, options.keys)
            with busy(options.busy):
                time.sleep(IMPORT_S)
                training = latencies(terminal, options.keys)
    result = {
        "first_frame_ms": {"best": round(min(frames)), "median": round(statistics.median(frames))},
        "key_opening_ms": opening,
        "key_settled_ms": settled,
        "key_training_ms": training,
    }
    print(f"first frame {options.size}: best {min(frames):.0f} ms (reach ≤ {REACH_FIRST_MS:.0f})")
    for when, found in (("engine loading", opening), ("settled", settled), ("cores busy", training)):
        print(
            f"key to paint, {when}: p50 {found['p50']} ms, p99 {found['p99']} ms (reach p99 ≤ "
            f"{REACH_KEY_MS:.0f}), max {found['max']} ms, {options.keys} keys"
        )
    _results.store("first_frame", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
