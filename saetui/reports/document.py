"""A document as plain blocks, which ``markdown`` and ``html`` write out."""

from collections.abc import Sequence
from dataclasses import dataclass

from saetui.features.results import Context


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Code:
    """``text`` as it is, line by line."""

    text: str


@dataclass(frozen=True)
class Table:
    """``note`` says how its numbers are to be read."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""


@dataclass(frozen=True)
class ContextBlock:
    """Contexts, a line each, with a mark before every one (``✓``, or nothing)."""

    contexts: Sequence[Context]
    marks: Sequence[str] = ()

    def marked(self) -> list[tuple[str, Context]]:
        return list(zip(self.marks or [""] * len(self.contexts), self.contexts, strict=True))


@dataclass(frozen=True)
class Plot:
    """``svg`` as ``saetui.reports.svg`` draws it."""

    title: str
    svg: str


Block = Heading | Text | Code | Table | ContextBlock | Plot


@dataclass(frozen=True)
class Document:
    title: str
    blocks: Sequence[Block]
