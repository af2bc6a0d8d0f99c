"""A document as one HTML file that needs nothing else: no script, no link, its style and plots inside."""

from html import escape

from saetui.features.results import Context
from saetui.reports.document import Block, Code, ContextBlock, Document, Heading, Plot, Table, Text
from saetui.visible import visible

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #777; --hot: 230, 140, 0; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: .6rem 0; display: block; overflow-x: auto; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; } td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.note { color: var(--soft); } figure { margin: 1rem 0; } figcaption { font-weight: 600; }
svg { max-width: 100%; height: auto; }
pre { font: 13px/1.5 ui-monospace, monospace; overflow-x: auto; }
.contexts { font: 13px/1.6 ui-monospace, monospace; margin: .5rem 0; padding: 0; overflow-x: auto; }
.contexts li { white-space: pre; } .contexts b { outline: 1px solid currentColor; font-weight: inherit; }
.contexts i { color: var(--soft); font-style: normal; }
"""


def render(document: Document) -> str:
    """The whole file."""
    body = "\n".join(_block(block) for block in document.blocks)
    title = escape(document.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>"
    )


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
        case Text():
            return f"<p>{escape(block.text)}</p>"
        case Code():
            return f"<pre>{escape(block.text)}</pre>"
        case Table():
            return _table(block)
        case ContextBlock():
            lines = "\n".join(f"<li>{_context(mark, context)}</li>" for mark, context in block.marked())
            return f'<ul class="contexts">{lines}</ul>'
        case Plot():
            return f"<figure><figcaption>{escape(block.title)}</figcaption>\n{block.svg}</figure>"


def _table(block: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in block.headings)
    rows = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in block.rows)
    title = f"<h3>{escape(block.title)}</h3>\n" if block.title else ""
    note = f'\n<p class="note">{escape(block.note)}</p>' if block.note else ""
    return f"{title}<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>{note}"


def _context(mark: str, context: Context) -> str:
    """The tokens, each as dark as the feature fires on it, the one in question outlined."""
    strongest = max(*context.activations, 1e-9)
    parts: list[str] = []
    for i, (token, activation) in enumerate(zip(context.tokens, context.activations, strict=True)):
        text = escape(visible(token))
        tag = "b" if i == context.center else "span"
        if activation > 0:
            style = f' style="background: rgba(var(--hot), {0.65 * activation / strongest:.2f})"'
            parts.append(f"<{tag}{style}>{text}</{tag}>")
        else:
            parts.append(f"<b>{text}</b>" if tag == "b" else text)
    return f"{escape(mark)}<i>{context.activation:8.2f}</i>  {''.join(parts)}"
