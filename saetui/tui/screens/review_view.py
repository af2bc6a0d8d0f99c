"""A verdict as the review screen shows it: the table of all questions, the one asked, and its evidence."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from saetui.features.results import Context
from saetui.split.judging.review import Answer, Review
from saetui.split.judging.verdict import CRITERIA, SILENT, ChildVerdict, CriterionResult, Evidence
from saetui.visible import pad, tail, visible

Key = tuple[str, int]
"""A question: a child and a criterion."""

SHORT = {1: "alone", 2: "pattern", 3: "logits", 4: "contrasts", 5: "together"}
CLOSE = "≈"
"""Beside a number that passed or failed so narrowly that it should be looked at."""


def matrix(review: Review, questions: list[Key], at: int) -> Table:
    """Every child with all its criteria, the question ``at`` marked; a click goes to a question."""
    assert review.judgement is not None
    asked = list(dict.fromkeys(criterion for _, criterion in questions))
    table = Table.grid(padding=(0, 2))
    for _ in range(3 + len(asked)):
        table.add_column(no_wrap=True)
    headings = (Text(f"{n} {SHORT[n]}", "bold") for n in asked)
    table.add_row("", Text("child", "bold"), Text("feature", "bold"), *headings)
    for child in review.judgement.children:
        cells = []
        for result in child.criteria:
            index = questions.index((child.child, result.criterion))
            cells.append(_cell(review, child.child, result, index, index == at))
        feature = "none" if child.feature is None else str(child.feature)
        table.add_row("✓" if review.child_holds(child) else "✗", Text(child.child), feature, *cells)
    return table


def _cell(review: Review, child: str, result: CriterionResult, index: int, here: bool) -> Text:
    answer = review.answers.get((child, result.criterion))
    mark = "✓" if review.holds(child, result.criterion) else "✗"
    # A person's word stands bare, the judge's suggestion in brackets, with ? where the person cannot
    # tell: told apart without colour.
    word = f"({mark})" if answer is None else f"?{mark} " if answer.unsure else f" {mark} "
    text = Text(f"{'▸' if here else ' '}{word}{number(result.number)}", "reverse" if here else "")
    if result.close:
        text.append(CLOSE, "bold")
    if answer is not None and answer.verdict not in (None, result.passed):
        text.append(" ≠", "bold")
    text.stylize(Style(meta={"@click": f"screen.question({index})"}))
    return text


def question(
    child: ChildVerdict, result: CriterionResult, answer: Answer | None, note: str
) -> RenderableType:
    """What is asked, what the judge says to it and why, and what was answered."""
    bound = "at most" if result.criterion == SILENT else "at least"
    close = f" {CLOSE} close to its limit: look." if result.close else ""
    lines = [
        Text(f"{child.child}: {CRITERIA[result.criterion]}?", "bold"),
        Text(
            f"{number(result.number)}, {bound} {number(result.threshold)} asked: the judge says "
            f"{'it holds' if result.passed else 'it fails'}.{close} {visible(result.evidence.note)}"
        ),
    ]
    if answer is not None:
        word = "unsure: the judge's word stands" if answer.unsure else "holds" if answer.verdict else "fails"
        lines.append(Text(f"your answer: {word}", "bold"))
    if note:
        lines.append(Text(f"note: {visible(note)}", "italic"))
    return Group(*lines)


def number(value: float | None) -> str:
    return "  – " if value is None else f"{value:4.2f}"


def evidence(found: Evidence, width: int) -> Group:
    """Prompts, contexts and logits that a number was counted from, in ``width`` cells."""
    rows: list[RenderableType] = []
    for reading in found.prompts:
        others = " · ".join(f"{top.feature} {top.activation:.2f}" for top in reading.top)
        rows.append(Text(f"{reading.child:6.2f}  {visible(reading.prompt)}"))
        rows.append(Text(f"        strongest: {others or 'nothing fires'}", "dim"))
    for read in found.contexts:
        rows.append(_context_line(read.context, "✓" if read.follows and read.on_token else "✗", width))
    if found.logits:
        words = Text()
        for logit in found.logits:
            words.append(
                f"{'✓' if logit.expected else ' '}{visible(logit.token, dots=True)} ",
                "bold" if logit.expected else "",
            )
            words.append(f"{logit.logit:.2f}   ", "dim")
        rows.append(words)
    return Group(*rows)


def _context_line(context: Context, mark: str, width: int) -> Text:
    left = visible("".join(context.tokens[: context.center]))
    right = visible("".join(context.tokens[context.center + 1 :]))
    room = max((width - 24) // 2, 10)
    line = Text(f"{mark} {context.activation:6.2f}  ")
    line.append(pad(tail(left, room), room, right=True))
    line.append(visible(context.tokens[context.center], dots=True), "reverse bold")
    line.append(right)
    line.no_wrap = True
    line.overflow = "ellipsis"
    return line
