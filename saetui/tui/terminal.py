"""What saetui needs of a terminal, settled before Textual is imported (it reads its environment then)."""

import os
import select
import signal
import sys
import threading
from codecs import getincrementaldecoder
from functools import partial

from saetui.errors import UsageError
from saetui.tui import disk


def prepare_terminal(interactive: bool) -> None:
    """Checks the terminal and sets Textual up for it. UsageError where there is none to draw on."""
    if not interactive:
        raise UsageError("the workbench needs a terminal; `saetui demo` does the same job without one")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError(
            "TERM=dumb cannot show the workbench; set TERM (e.g. xterm-256color), or use `saetui demo`, "
            "`saetui probe`, `saetui runs` …"
        )
    if "SSH_CONNECTION" in os.environ:
        # Sixty frames a second are for a screen in the same room; over SSH they are only bytes.
        os.environ.setdefault("TEXTUAL_FPS", "15")
        os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    survive_stray_bytes()
    end_with_the_terminal(sys.stdin.fileno())


def survive_stray_bytes() -> None:
    """Makes Textual's input thread outlive bytes that are not UTF-8.

    After a tmux re-attach or an SSH reconnect the terminal may fall back to X10 mouse reports, whose
    coordinates beyond column 95 are single bytes ≥ 128. Textual 8.2 decodes its input strictly: the
    thread dies of the first such byte and the application never answers a key again
    (Textualize/textual#6668). Replacing what cannot be decoded loses one mouse report instead.
    """
    from textual.drivers import linux_driver

    def decoder(encoding: str) -> object:
        return partial(getincrementaldecoder(encoding), errors="replace")

    linux_driver.getincrementaldecoder = decoder  # pyright: ignore[reportPrivateImportUsage]


def end_with_the_terminal(file: int) -> None:
    """Ends this process when the terminal behind ``file`` is gone.

    Mostly the kernel's SIGHUP does. It does not reach a process that ignores it (``nohup``) or that the
    terminal does not control, and Textual's input thread would read "end of file" for ever, with a core all
    to itself. Runs are processes of their own; what is being written is written to its end.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hang_up)
    poll = select.poll()
    poll.register(file, 0)  # a hang-up is told unasked, and nothing else wakes the thread

    def wait() -> None:
        if any(event & select.POLLHUP for _, event in poll.poll()):
            disk.flush()
            os._exit(128 + signal.SIGHUP)

    threading.Thread(target=wait, name="hang-up", daemon=True).start()


def _hang_up(number: int, _: object) -> None:
    disk.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
