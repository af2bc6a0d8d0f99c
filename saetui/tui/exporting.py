"""Writing what is on the screen into files: tables as records, screens as text or picture."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from textual.widget import Widget

from saetui.errors import UserError
from saetui.record_text import FORMATS

if TYPE_CHECKING:
    from textual.app import App
    from textual.screen import Screen


@runtime_checkable
class HasRecords(Protocol):
    """A widget whose content is a list of records."""

    def records(self) -> list[dict[str, Any]]:
        """All that it lists, in its order, one flat record a line."""
        ...


@runtime_checkable
class HasTwin(Protocol):
    """A screen or a part of one that a command in the shell does too."""

    def headless(self) -> list[str]:
        """The commands, one a line; empty where there is nothing yet that one could show."""
        ...


def exportable(screen: Screen[Any]) -> list[tuple[str, HasRecords]]:
    """The lists on a screen that have anything in them, with a name each; the one with the focus first, then
    those of its pane."""
    focused = screen.focused
    pane = next((w for w in focused.ancestors_with_self if isinstance(w, HasTwin)), None) if focused else None
    shown = [widget for widget in screen.query("*") if isinstance(widget, HasRecords) and _shown(widget)]
    shown.sort(key=lambda widget: (widget is not focused, pane not in widget.ancestors))
    return [(_name(widget), widget) for widget in shown if widget.records()]


def twins(screen: Screen[Any]) -> list[str]:
    """The commands of the part of the screen that has the focus, else of the screen."""
    focused = screen.focused
    parts: Iterable[Any] = focused.ancestors_with_self if focused else [screen]
    for part in parts:
        if isinstance(part, HasTwin) and (commands := part.headless()):
            return commands
    return []


def stem(screen: Screen[Any]) -> str:
    """What files of a screen begin with: what it says itself (``export_stem``), else what it is."""
    return getattr(screen, "export_stem", None) or type(screen).__name__.removesuffix("Screen").lower()


def records_text(widget: HasRecords, form: str) -> str:
    """``form``: one of ``record_text.FORMATS``."""
    return FORMATS[form](widget.records()) + "\n"


def screen_text(screen: Screen[Any]) -> str:
    """The screen's characters, a line a row, without trailing spaces."""
    strips = screen._compositor.render_strips()  # pyright: ignore[reportPrivateUsage]
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips) + "\n"


def screen_svg(app: App[Any]) -> str:
    return app.export_screenshot(title="saetui")


def write_new(stem: str, ending: str, text: str) -> Path:
    """A file ``stem.ending`` in the folder that saetui was started in, or, where that takes no files, in the
    home folder; a number is added where there is such a file. UserError with the reason."""
    stem = re.sub(r"[^\w.-]+", "-", stem).strip("-.")
    failed: OSError | None = None
    for folder in (Path.cwd, Path.home):
        try:
            return _write(folder(), stem, ending, text)
        except OSError as error:
            failed = failed or error
    assert failed is not None
    where = f"{failed.filename}: " if failed.filename else ""
    raise UserError(f"nothing was written: {where}{failed.strerror}")


def _write(folder: Path, stem: str, ending: str, text: str) -> Path:
    for number in range(1, 10_000):
        path = folder / (f"{stem}.{ending}" if number == 1 else f"{stem}-{number}.{ending}")
        try:
            with path.open("x", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except FileExistsError:
            continue
        return path
    raise OSError(17, "there are 9,999 files of that name", str(folder / stem))


def short_path(path: Path) -> str:
    """As a person writes it: the home folder as ``~``."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _shown(widget: Widget) -> bool:
    return all(one.display for one in widget.ancestors_with_self if isinstance(one, Widget))


def _name(widget: Widget) -> str:
    """What it says itself (``name``), else what it is."""
    kind = {"ContextList": "contexts", "PromptStrip": "prompt", "TokenStrip": "prompt"}
    return widget.name or widget.id or kind.get(type(widget).__name__, "table")
