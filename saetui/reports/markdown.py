"""A document as Markdown (CommonMark with tables). Plots, which it cannot hold, are left to the HTML."""

import re

from saetui.reports.document import Block, Code, ContextBlock, Document, Heading, Table, Text
from saetui.reports.verdict_text import context_text


def render(document: Document) -> str:
    """The document, its title first, without a newline at the end."""
    blocks = (_block(block) for block in document.blocks)
    return "\n\n".join([f"# {escape(document.title)}", *(block for block in blocks if block)])


def table(block: Table, level: int = 3) -> str:
    """A table with its title, a heading of ``level``, and its note."""
    rows = [(escape(cell).replace("|", r"\|") for cell in row) for row in (block.headings, *block.rows)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{'---|' * len(block.headings)}")
    title, note = ([f"{'#' * level} {escape(block.title)}"] if block.title else []), [escape(block.note)]
    return "\n\n".join([*title, "\n".join(lines), *(note if block.note else [])])


def escape(text: str) -> str:
    """``text`` on one line, with nothing in it that Markdown or HTML would take for its own."""
    return re.sub(r"([\\`*<>\[\]&]|^[#+-](?=\s))", r"\\\1", text.replace("\n", " "))


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {escape(block.text)}"
        case Text():
            return escape(block.text)
        case Code():
            return _fenced(block.text.splitlines())
        case Table():
            return table(block)
        case ContextBlock():
            return _listing(block)
        case _:
            return ""


def _listing(block: ContextBlock) -> str:
    lines = [
        f"{mark} {context_text(context)}" if mark else context_text(context)
        for mark, context in block.marked()
    ]
    return _fenced(lines)


def _fenced(lines: list[str]) -> str:
    longest = max((len(found) for line in lines for found in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence, *lines, fence]) if lines else ""
