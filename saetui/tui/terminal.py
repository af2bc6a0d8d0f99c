"""What saetui needs of a terminal, settled before Textual is imported (it reads its environment then)."""

import os
from codecs import getincrementaldecoder
from functools import partial

from saetui.errors import UsageError


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
