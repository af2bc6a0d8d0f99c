"""Verdicts as plain text, for the shell. Without torch."""

from saetui.features.results import Context
from saetui.split.judging.review import Review
from saetui.split.judging.verdict import CRITERIA, SILENT, ChildVerdict, CriterionResult
from saetui.visible import visible

NUMBERS = {1: "margin", 2: "share", 3: "overlap", 4: "ratio", 5: "precision"}
CONTEXTS_SHOWN = 5


def review_text(review: Review) -> str:
    """The whole verdict: every child, every criterion with number, threshold and evidence, the result."""
    if review.judgement is None:
        return review.result_line()
    judgement = review.judgement
    where = f"{judgement.tokens_read:,} held-out tokens of {judgement.rows}"
    lines = [f"{judgement.encoder}, by {judgement.criteria!r}, over {where}"]
    for child in judgement.children:
        lines += ["", *_child_lines(review, child)]
    return "\n".join([*lines, "", f"{review.result_line()}  (verdict: {review.by})"])


def _child_lines(review: Review, child: ChildVerdict) -> list[str]:
    mark = "✓ passed" if review.child_holds(child) else "✗ failed"
    feature = "no feature" if child.feature is None else f"feature {child.feature}"
    lines = [f"{child.child}: {feature}, {mark}"]
    for result in child.criteria:
        lines += _criterion_lines(review, child, result)
    return lines


def _criterion_lines(review: Review, child: ChildVerdict, result: CriterionResult) -> list[str]:
    holds = review.holds(child.child, result.criterion)
    answer = review.answers.get((child.child, result.criterion))
    said = ""
    if answer is not None:
        word = "confirmed" if answer.verdict == result.passed else "overruled"
        said = f"  ({word} by a person{': ' + answer.note if answer.note else ''})"
    lines = [
        f"  {result.criterion} {CRITERIA[result.criterion]:<30} {number_text(result):<22}"
        f"{'✓ pass' if holds else '✗ fail'}{said}",
        f"      {visible(result.evidence.note)}",
    ]
    evidence = result.evidence
    for reading in evidence.prompts:
        top = ", ".join(f"{a.feature}: {a.activation:.2f}" for a in reading.top[:3]) or "nothing fires"
        lines.append(f"      {reading.child:6.2f}  {visible(reading.prompt)}   [{top}]")
    for read in evidence.contexts[:CONTEXTS_SHOWN]:
        mark = "✓" if read.on_token and read.follows else "✗"
        lines.append(f"      {mark} {context_text(read.context)}")
    if evidence.logits:
        words = "  ".join(
            f"{'✓' if b.expected else '·'} {visible(b.token, dots=True)}" for b in evidence.logits
        )
        lines.append(f"      {words}")
    return lines


def number_text(result: CriterionResult) -> str:
    """``margin 0.62 ≥ 0.10``: the number, and what it was held against; ``≈`` where it is close to that."""
    name = NUMBERS[result.criterion]
    if result.number is None:
        return f"{name} undefined"
    passed, failed = ("≤", ">") if result.criterion == SILENT else ("≥", "<")
    close = " ≈" if result.close else ""
    return f"{name} {result.number:.2f} {passed if result.passed else failed} {result.threshold:.2f}{close}"


def context_text(context: Context) -> str:
    """A context on one line, its token marked and its activation before it."""
    before = "".join(context.tokens[: context.center])
    after = "".join(context.tokens[context.center + 1 :])
    token = context.tokens[context.center]
    return f"{context.activation:6.2f}  {visible(before)}«{visible(token)}»{visible(after)}"
