"""A split report to read, as text and as blocks: the word and its reason, every number beside the limit that
a word stands on, the controls, how the candidates fell away, the children. Without torch."""

from collections import Counter
from dataclasses import asdict, dataclass
from statistics import median
from textwrap import wrap

from saetui.features.results import Child
from saetui.reports.document import Block, ContextBlock, Heading, Table, Text
from saetui.reports.verdict_text import CONTEXTS_SHOWN, context_text
from saetui.split.finding.report import SplitReport, Spread
from saetui.visible import visible

WIDTH = 78
"""Columns of the text, contexts apart."""
_MARKS = {True: "✓", False: "✗", None: " "}
_AT_ONCE = ("general", "copy_cosine", "duplicate")
"""Limits that no number of the report stands beside."""


@dataclass(frozen=True)
class Measure:
    """A number of the report. ``limit``: what *split* asks of it, and whether it ``holds``; empty and None
    where no word stands on it."""

    name: str
    value: str
    limit: str = ""
    holds: bool | None = None
    meaning: str = ""


def measures(report: SplitReport) -> list[Measure]:
    """Those that the report has, in the order in which they are read. Their definitions:
    ``saetui.split.finding.measures``."""
    limits = report.limits
    found = [
        _at_least("coverage", report.coverage, limits.coverage, "target tokens with a child"),
        _at_least("specificity", report.specificity, limits.specificity, "of it where target fires"),
        _at_least("effective children", report.effective, limits.effective, "1: a copy"),
    ]
    if report.children:
        highest = max(child.recall for child in report.children)
        found.append(
            Measure(
                "highest recall",
                f"{highest:.2f}",
                f"≤ {limits.recall_of_one:g}",
                highest <= limits.recall_of_one,
                "of one child alone",
            )
        )
    if (apart := report.distinctness) is not None:
        holds = apart > limits.distinctness
        found.append(
            Measure(
                "distinctness", f"{apart:.2f}", f"> {limits.distinctness:g}", holds, "1 - mean cosine of them"
            )
        )
    for place, context in enumerate(report.context):
        best = place == 0  # the verdict looks at the most informative one
        found.append(
            Measure(
                f"told by {context.neighbour}",
                f"{context.share:.2f}, p {context.p_value:.3f}",
                f"p < {limits.p_value:g}" if best else "",
                context.p_value < limits.p_value if best else None,
                "of the child, by the token",
            )
        )
    if report.margin is not None:
        found.append(Measure("margin", _spread(report.margin), meaning="strongest over the second"))
    for name, value, meaning in (
        ("overlap", report.overlap, "mean Jaccard index of them"),
        ("logit divergence", report.logit_divergence, "nats"),
        ("FVU", report.fvu_after, "on the target's tokens"),
        ("  narrow SAE", report.fvu_before, ""),
        ("  without children", report.fvu_without if report.children else None, ""),
    ):
        if value is not None:
            found.append(Measure(name, f"{value:.2f}", meaning=meaning))
    return [measure for measure in found if measure]


def _at_least(name: str, spread: Spread | None, limit: float, meaning: str) -> Measure | None:
    if spread is None:
        return None
    return Measure(name, _spread(spread), f"≥ {limit:g}", spread.value >= limit, meaning)


def report_text(report: SplitReport) -> str:
    """All of it, as lines of text."""
    head = f"feature {report.target}: {report.kind}: {report.why}"
    lines = [
        *wrap(head, WIDTH),
        f"{report.tokens_fired:,} of {report.tokens_read:,} held-out tokens above {report.threshold:g}",
        "",
        f"  {'':<20}{'[95 % of rows drawn]':<21}{'split':<9}",
    ]
    lines += [
        f"{_MARKS[one.holds]} {one.name:<20}{one.value:<21}{one.limit:<9}{one.meaning}".rstrip()
        for one in measures(report)
    ]
    if report.duplicates:
        lines += wrap(f"left out as duplicates: {', '.join(map(str, report.duplicates))}", WIDTH)
    for title, part in (
        ("Did the target split more than features of like density?", _control_text(report)),
        ("How the candidates fell away", funnel_lines(report)),
    ):
        if part:
            lines += ["", title, *(f"  {line}" for line in part)]
    lines += ["", *limit_lines(report)]
    for child in report.children:
        boosted = " ".join(visible(b.token, dots=True) for b in child.boosted[:8])
        lines += [
            "",
            f"child {child.feature}{heir(report, child)}   boosts {boosted}",
            f"  {child_numbers(child)}",
            *(f"  {context_text(context)}" for context in child.contexts[:CONTEXTS_SHOWN]),
        ]
    return "\n".join(lines)


def _control_text(report: SplitReport) -> list[str]:
    """The controls as a table, and what they come to; nothing where there are none."""
    if not report.controls:
        return []
    rows = control_rows(report)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [*control_lines(report), "", *table]


CONTROL_HEADINGS = ("feature", "tokens", "verdict", "children", "effective", "coverage")


def control_rows(report: SplitReport) -> list[tuple[str, ...]]:
    """``CONTROL_HEADINGS``, the target, and every control, most effective children first."""
    effective = report.effective.value if report.effective else 0.0
    controls = sorted(report.controls, key=lambda control: -control.effective)
    return [
        CONTROL_HEADINGS,
        (
            *(f"{report.target} (target)", f"{report.tokens_fired:,}", report.kind),
            *(str(len(report.children)), f"{effective:.2f}", f"{report.coverage.value:.2f}"),
        ),
        *(
            (
                *(str(c.feature), f"{c.tokens_fired:,}", c.kind),
                *(str(c.children), f"{c.effective:.2f}", f"{c.coverage:.2f}"),
            )
            for c in controls
        ),
    ]


def control_lines(report: SplitReport) -> list[str]:
    """Whether the target split more than features of like density did; nothing without controls."""
    if not report.controls or report.control_p is None:
        return []
    counts = Counter(control.kind for control in report.controls)
    words = ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
    numbers = sorted(control.effective for control in report.controls)
    return [
        f"{len(numbers)} control features of like density: {words}",
        f"their effective children: median {median(numbers):.2f}, at most {numbers[-1]:.2f};",
        f"as many as the target's by chance: p {report.control_p:.2f}",
    ]


def funnel_lines(report: SplitReport) -> list[str]:
    """How many features each limit on a candidate left, and what leaks; nothing where children were named."""
    funnel, limits = report.funnel, report.limits
    if funnel is None:
        return []
    steps = (
        (funnel.features, "features"),
        (funnel.recalled, f"have recall ≥ {limits.recall:g}, …"),
        (funnel.aligned, f"… of these cosine ≥ {limits.cosine:g}, …"),
        (funnel.faithful, f"… of these precision ≥ {limits.precision:g}, …"),
        (funnel.leading, f"… and of these lead on ≥ {limits.share:.0%} of the tokens"),
    )
    width = len(str(funnel.features))
    lines = [f"{count:>{width}} {what}" for count, what in steps]
    if leaks := funnel.aligned - funnel.faithful:
        first = ", ".join(f"{leak.feature} ({leak.precision:.2f})" for leak in funnel.leaking)
        lines += wrap(f"{leaks} leak, most of their activation elsewhere; precision: {first}", WIDTH - 2)
    return lines


def limit_lines(report: SplitReport) -> list[str]:
    """The limits that stand beside no number, and where all of them are set."""
    limits = report.limits
    rest = ", ".join(f"{name} {getattr(limits, name):g}" for name in _AT_ONCE)
    return wrap(
        f"Limits: lost below coverage {limits.lost:g}; {rest}. Ours, not published: --limit NAME=VALUE, or "
        "[limits] in the settings, sets them.",
        WIDTH,
    )


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


def report_blocks(report: SplitReport) -> list[Block]:
    """All of it, as blocks of a document."""
    words = {True: "yes", False: "no", None: ""}
    rows = [
        (one.name.strip(), one.value, one.limit, words[one.holds], one.meaning) for one in measures(report)
    ]
    blocks: list[Block] = [
        Heading("Split report"),
        Text(f"{report.kind}: {report.why}"),
        Text(
            f"{report.tokens_fired:,} of {report.tokens_read:,} held-out tokens above {report.threshold:g}."
        ),
        Table(
            "",
            ("measure", "value", "split asks", "holds", "of"),
            rows,
            "With 95 % bootstrap intervals over rows, where there is one.",
        ),
    ]
    if report.controls:
        _, *controls = control_rows(report)
        note = " ".join(control_lines(report)) + "."
        blocks.append(Table("Control features of like density", CONTROL_HEADINGS, controls, note))
    if report.funnel:
        blocks.append(Text("How the candidates fell away: " + " ".join(funnel_lines(report)) + "."))
    limits = [(name, str(value)) for name, value in asdict(report.limits).items()]
    blocks.append(Table("Limits", ("limit", "value"), limits, "Ours, not published; --limit."))
    for child in report.children:
        boosted = "  ".join(visible(logit.token, dots=True) for logit in child.boosted)
        blocks += [
            Heading(f"child {child.feature}{heir(report, child)}", 3),
            Text(f"{child_numbers(child)}; boosts {boosted}"),
            ContextBlock(child.contexts),
        ]
    return blocks


def _spread(spread: Spread) -> str:
    return f"{spread.value:.2f} [{spread.low:.2f}, {spread.high:.2f}]"
