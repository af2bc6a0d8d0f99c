"""What the live monitor costs over SSH: bytes a second at 120×40 while a run reports once a second, and
bytes and CPU while nothing happens. Measured at a pseudo-terminal, on a fabricated run.

    python -m benchmarks.wire [--seconds 20] [--size 120x40] [--term xterm-256color]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import _results
from tests.tui.fabricate import FakeRun
from tests.tui.pseudo_terminal import PseudoTerminal

TOKENS_A_SECOND = 52_000


def show(folder: Path) -> None:
    """The program under measurement: the monitor alone."""
    from textual.app import App

    from saetui.runs.store import Run
    from saetui.tui.screens.monitor import MonitorScreen

    class Monitor(App[None]):
        def on_mount(self) -> None:
            self.push_screen(MonitorScreen(Run(folder)))

    Monitor().run()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--term", default="xterm-256color")
    parser.add_argument("--show", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.show:
        show(options.show)
        return 0
    columns, rows = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        fake = FakeRun(Path(folder), created=time.time() - 600)
        fake.hold()
        fake.begin().early_probes().train(6_000_000)
        command = [sys.executable, "-m", "benchmarks.wire", "--show", str(fake.run.folder)]
        still = {"TEXTUAL_ANIMATIONS": "none"}
        with PseudoTerminal(command, (columns, rows), options.term, still) as terminal:
            first = terminal.read_for(30, until_quiet=3)
            cpu = terminal.cpu_seconds()
            live = 0
            for _ in range(options.seconds):
                fake.train(fake.tokens + TOKENS_A_SECOND, per_record=TOKENS_A_SECOND)
                live += terminal.read_for(1)
            live_cpu = terminal.cpu_seconds() - cpu
            terminal.read_for(3)
            cpu = terminal.cpu_seconds()
            idle = terminal.read_for(options.seconds)
            idle_cpu = terminal.cpu_seconds() - cpu
    seconds = options.seconds
    live_rate, idle_rate = live / seconds, idle / seconds
    print(f"monitor at {options.size}, TERM={options.term}, {seconds} s each")
    print(f"first frames   {first / 1000:8.1f} KB")
    print(f"live, 1 Hz     {live_rate / 1000:8.2f} KB/s  {live_cpu / seconds:6.2%} CPU   (reach: 5 KB/s)")
    print(f"idle           {idle_rate:8.1f} B/s   {idle_cpu / seconds:6.2%} CPU   (reach: 0 B/s, 0.3 %)")
    figures = {
        "size": options.size,
        "seconds": seconds,
        "first_frames_bytes": first,
        "live_bytes_per_s": live_rate,
        "live_cpu": live_cpu / seconds,
        "idle_bytes_per_s": idle_rate,
        "idle_cpu": idle_cpu / seconds,
    }
    _results.store("wire", figures)
    return 0 if live_rate <= 5000 and idle == 0 and idle_cpu / seconds <= 0.003 else 1


if __name__ == "__main__":
    sys.exit(main())
