"""One run at a time on a device, or as many as were asked for, in the order of launching, with no daemon.

    <root>/.devices/<host>/<device>.lock     held by the run that has the device
    <root>/.devices/<host>/<device>.1.lock   … by the second one on it, where several are let on it at once
    <root>/.devices/<host>/<device>.queue/   a ticket per run, named by the time of launching

A run over several devices has a ticket for each, with one time, and takes all of them or none.

The tickets give the order; the locks make sure. A ticket counts only as long as a process works for its
run, so a waiting worker that dies blocks nobody. A run that wants its device for itself waits for all ahead
of it, whatever those agreed to.
"""

import os
import socket
import time
from pathlib import Path

from saetui.runs import lock
from saetui.runs.store import Run
from saetui.setup import Setup


def device_key(device: str) -> str:
    """The device that a setup's ``device`` comes down to, as a file name: ``cpu``, ``cuda-0`` …

    Told without torch, which a waiting worker must not load: ``auto`` is the first GPU where there is an
    NVIDIA driver and GPUs are not hidden. GPUs are named as the machine counts them, not as
    ``CUDA_VISIBLE_DEVICES`` renumbers them.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if device == "auto":
        device = "cuda" if Path("/dev/nvidiactl").exists() and visible not in ("", "-1") else "cpu"
    name, _, index = device.partition(":")
    if name != "cuda":
        return device.replace(":", "-").replace("/", "-")
    shown = visible.split(",") if visible else []
    number = int(index) if index.isdigit() else 0
    return f"cuda-{shown[number].strip() if number < len(shown) else number}"


def devices(device: str) -> list[str]:
    """The devices that a setup's ``device`` lets a study use: ``auto`` is every GPU that is not hidden, or
    else the CPU; others are those named. Without torch, as ``device_key``."""
    if device != "auto" or device_key(device) == "cpu":
        return list(dict.fromkeys(Setup(device=device).devices))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = len(visible.split(",")) if visible else len(list(Path("/dev").glob("nvidia[0-9]*")))
    return [f"cuda:{index}" for index in range(max(1, count))]


class DeviceQueue:
    """The queue for the devices of ``run``, seen from that run, which shares each with ``at_once - 1`` others
    at most."""

    def __init__(self, run: Run, at_once: int = 1) -> None:
        self.run = run
        self.at_once = at_once
        self._folder = run.root / ".devices" / socket.gethostname()
        # In one order for all runs, or two could each hold what the other needs.
        self._keys = sorted({device_key(name) for name in Setup.from_dict(run.manifest.setup).devices})

    def enter(self) -> None:
        """Takes a place at the end."""
        self.leave()
        name = f"{time.time_ns():020d}.{self.run.id}"  # one time: the order is the same on every device
        for tickets in self._tickets():
            tickets.mkdir(parents=True, exist_ok=True)
            (tickets / name).touch()

    def leave(self) -> None:
        for tickets in self._tickets():
            for ticket in tickets.glob(f"*.{self.run.id}"):
                ticket.unlink(missing_ok=True)

    def ahead(self) -> int:
        """Runs that get the device, or have it, before this one; of several devices the most. Tickets of the
        dead are cleared away."""
        return max(map(self._ahead, self._tickets()))

    def take(self) -> list[int] | None:
        """The devices, as the descriptors of held locks, if it is this run's turn and all are free.

        The tickets stay, so that the order holds on file systems that have no locks."""
        if self.ahead() >= self.at_once:
            return None
        held: list[int] = []
        for key in self._keys:
            places = [f"{key}.{n}.lock" if n else f"{key}.lock" for n in range(self.at_once)]
            taken = (lock.take(self._folder / place, patience_s=0) for place in places)
            if (fd := next((fd for fd in taken if fd is not None), None)) is None:
                for fd in held:
                    os.close(fd)
                return None
            held.append(fd)
        return held

    def _tickets(self) -> list[Path]:
        return [self._folder / f"{key}.queue" for key in self._keys]

    def _ahead(self, tickets: Path) -> int:
        count = 0
        for ticket in sorted(tickets.glob("*.*")):
            name = ticket.name.partition(".")[2]
            if name == self.run.id:
                break
            if Run(self.run.root / name).alive():
                count += 1
            else:
                ticket.unlink(missing_ok=True)
        return count
