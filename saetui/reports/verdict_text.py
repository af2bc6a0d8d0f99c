"""Verdicts and split reports as plain text, for the shell. Without torch."""

from collections import Counter
from statistics import median

from saetui.features.results import Child, Context
from saetui.split.report import SplitReport, Spread
from saetui.split.review import Review
from saetui.split.verdict import CRITERIA, SILENT, ChildVerdict, CriterionResult
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


def report_text(report: SplitReport) -> str:
    """The split report: the word, its reason, the numbers with their intervals, the children."""
    lines = [
        f"feature {report.target}: {report.kind}: {report.why}",
        f"  {report.tokens_fired:,} of {report.tokens_read:,} held-out tokens above {report.threshold:g}",
        f"  coverage            {_spread(report.coverage)}   tokens of the target on which a child fires",
    ]
    for name, spread, what in (
        ("specificity", report.specificity, "of the children's activation, what is where the target fires"),
        ("effective children", report.effective, "1: a copy"),
        ("margin", report.margin, "of the strongest child over the second"),
    ):
        if spread is not None:
            lines.append(f"  {name:<19} {_spread(spread)}   {what}")
    fvu = f"{report.fvu_after:.2f}   on the target's tokens; the narrow SAE's {report.fvu_before:.2f}"
    if report.fvu_without is not None and report.children:
        fvu += f", without the children {report.fvu_without:.2f}"
    lines.append(f"  FVU                 {fvu}")
    if report.distinctness is not None:
        lines.append(f"  distinctness        {report.distinctness:.2f}   1 - mean cosine between children")
    if report.overlap is not None:
        lines.append(f"  overlap             {report.overlap:.2f}   mean Jaccard index between children")
    if report.logit_divergence is not None:
        lines.append(f"  logit divergence    {report.logit_divergence:.2f}   nats")
    for context in report.context:
        lines.append(
            f"  told by {context.neighbour:<12}{context.share:.2f}   of the child, by that token; "
            f"p {context.p_value:.3f}"
        )
    if report.duplicates:
        lines.append(f"  duplicates left out: {', '.join(map(str, report.duplicates))}")
    lines += [f"  {line}" for line in (*control_lines(report), *funnel_lines(report))]
    for child in report.children:
        boosted = " ".join(visible(b.token, dots=True) for b in child.boosted[:8])
        lines += [
            "",
            f"child {child.feature}{heir(report, child)}: {child_numbers(child)}   boosts {boosted}",
            *(f"  {context_text(context)}" for context in child.contexts[:CONTEXTS_SHOWN]),
        ]
    return "\n".join(lines)


def child_numbers(child: Child) -> str:
    """Its share, recall, precision and cosines on one line."""
    masked = "" if child.masked_cosine is None else f", masked cosine {child.masked_cosine:.2f}"
    return (
        f"share {child.share:.2f}, recall {child.recall:.2f}, precision {child.precision:.2f}, "
        f"cosine {child.cosine:.2f}{masked}"
    )


def heir(report: SplitReport, child: Child) -> str:
    """Says so where the child is the feature that began as the target."""
    return " (began as the target)" if child.feature == report.inherited else ""


def control_lines(report: SplitReport) -> list[str]:
    """Whether the target split more than features of like density did; nothing without controls."""
    if not report.controls or report.control_p is None:
        return []
    counts = Counter(control.kind for control in report.controls)
    words = ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
    numbers = sorted(control.effective for control in report.controls)
    return [
        f"{len(numbers)} control features of like density: {words}",
        f"their effective children: median {median(numbers):.2f}, at most {numbers[-1]:.2f}; "
        f"as many as the target's by chance: p {report.control_p:.2f}",
    ]


def funnel_lines(report: SplitReport) -> list[str]:
    """How many features each limit on a candidate left, and what leaks; nothing where children were named."""
    funnel, limits = report.funnel, report.limits
    if funnel is None:
        return []
    lines = [
        f"of {funnel.features} features {funnel.recalled} have recall ≥ {limits.recall:g}, of these "
        f"{funnel.aligned} cosine ≥ {limits.cosine:g},",
        f"of these {funnel.faithful} precision ≥ {limits.precision:g}, of these {funnel.leading} lead on "
        f"≥ {limits.share:.0%} of the tokens",
    ]
    if leaks := funnel.aligned - funnel.faithful:
        first = ", ".join(f"{leak.feature} ({leak.precision:.2f})" for leak in funnel.leaking)
        lines.append(f"{leaks} leak, most of their activation being elsewhere; precision: {first}")
    return lines


def _spread(spread: Spread) -> str:
    return f"{spread.value:.2f} [{spread.low:.2f}, {spread.high:.2f}]"
