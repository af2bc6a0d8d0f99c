"""A program at a pseudo-terminal: keys in, bytes out, resizes, a line that drops. For tests, benchmarks."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

_ESCAPES = re.compile(rb"\x1b(?:\[[0-9;?<>=]*[ -/]*[@-~]|[\]P][^\x1b\x07]*(?:\x07|\x1b\\)|[@-_])")
SAETUI = [sys.executable, "-m", "saetui", "open"]


class PseudoTerminal:
    """``size`` is (columns, rows). With ``controlling``, the terminal is the program's own, so that the
    kernel sends SIGHUP when it goes; ``environment`` goes over this process's, less what says of colours."""

    def __init__(
        self,
        command: list[str],
        size: tuple[int, int] = (120, 40),
        term: str = "xterm-256color",
        environment: dict[str, str] | None = None,
        controlling: bool = False,
    ) -> None:
        self._master, slave = pty.openpty()
        self._open = True
        self._set_size(size)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in ("COLORTERM", "NO_COLOR", "TMUX", "SSH_CONNECTION", "COLUMNS", "LINES")
        }

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**inherited, "TERM": term, **(environment or {})},
            start_new_session=not controlling,
            preexec_fn=take_terminal if controlling else None,
        )
        os.close(slave)
        self.seen = b""
        """All that it has written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def _set_size(self, size: tuple[int, int]) -> None:
        columns, rows = size
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float) -> bytes:
        """What it writes next; nothing after ``seconds`` of silence, or where it is gone."""
        if not select.select([self._master], [], [], seconds)[0]:
            return b""
        with suppress(OSError):
            new = os.read(self._master, 1 << 16)
            self.seen += new
            return new
        return b""

    def read_for(self, seconds: float, until_quiet: float | None = None) -> int:
        """Bytes that it writes within ``seconds``, or until it is quiet for so long after the first."""
        begun = len(self.seen)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            wrote = len(self.seen) > begun
            patience = min(left, until_quiet) if until_quiet is not None and wrote else left
            if not self.read(patience) and patience < left:
                break
            if self.process.poll() is not None and not self.read(0):
                break
        return len(self.seen) - begun

    def until(self, text: str, seconds: float = 60) -> bytes:
        """Reads until ``text`` has come, colours and movements apart; what was written since the call.
        AssertionError where it does not come."""
        begun, end = len(self.seen), time.monotonic() + seconds
        while text.encode() not in plain(self.seen[begun:]):
            assert time.monotonic() < end, f"{text!r} did not come: {plain(self.seen[begun:])[-2000:]!r}"
            if not self.read(1) and self.process.poll() is not None:
                raise AssertionError(
                    f"ended ({self.process.returncode}) before {text!r}: {self.seen[-2000:]!r}"
                )
        return self.seen[begun:]

    def press(self, keys: str | bytes) -> None:
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    def resize(self, columns: int, rows: int) -> None:
        """As a terminal emulator does; the kernel sends SIGWINCH to what the terminal controls."""
        self._set_size((columns, rows))

    def hang_up(self) -> None:
        """The line drops: nobody is at the other end any more."""
        if self._open:
            self._open = False
            os.close(self._master)

    def ended(self, seconds: float = 60) -> int:
        """The exit status, once it is there; what is written on the way out is read."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            if self._open:
                self.read(0.1)
            else:
                time.sleep(0.02)
        return self.process.wait(1)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def plain(written: bytes) -> bytes:
    """What was written, without escape sequences."""
    return _ESCAPES.sub(b"", written)
