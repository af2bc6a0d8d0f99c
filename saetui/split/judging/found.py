"""Children found without criteria, put to a person as a judgement of one question a child. Without torch."""

from saetui.split.finding.report import SplitReport, SplitThresholds
from saetui.split.judging.verdict import (
    TOGETHER,
    ChildVerdict,
    CriterionResult,
    Evidence,
    Judgement,
    ReadContext,
    ReadLogit,
)


def found_judgement(report: SplitReport, encoder: str, rows: str, limits: SplitThresholds) -> Judgement:
    """Whether each child's contexts belong together, which only a person can say. The judge's number is the
    child's precision on the rows that scored it, held against the limit by which others had chosen it.

    ``rows``: which rows were read, as a person knows them.
    """
    children = [
        ChildVerdict(
            f"child {child.feature}",
            child.feature,
            [
                CriterionResult(
                    TOGETHER,
                    child.precision,
                    limits.precision,
                    child.precision >= limits.precision,
                    Evidence(
                        f"strongest child on {child.share:.0%} of the target's tokens, fires on "
                        f"{child.recall:.0%}; decoder cosine {child.cosine:.2f}",
                        contexts=[ReadContext(context, True, True) for context in child.contexts],
                        logits=[ReadLogit(one.token, one.logit, False) for one in child.boosted],
                    ),
                )
            ],
        )
        for child in report.children
    ]
    name = f"children found without criteria: {report.kind}, {report.why}"
    return Judgement(encoder, name, "", "", "", report.tokens_read, rows, children)
