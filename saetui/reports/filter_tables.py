"""What the filter buys, as tables of text."""

from collections.abc import Sequence

from saetui.quantities import si
from saetui.reports.document import Table
from saetui.reports.spread import over, share
from saetui.studies.results import FilterResult, Sample


def filter_table(results: Sequence[FilterResult]) -> Table:
    headings = (
        "data",
        "init",
        "split",
        "expected children",
        "mean F1",
        "kept",
        "trained",
        "read",
        "computed",
    )
    rows = [
        (
            *_group(r, results),
            share(r.successes, r.judged),
            over(r.passed, "{:.3g}".format) + (f" of {r.children}" if r.passed else ""),
            over(r.mean_f1, "{:.2f}".format),
            over(r.kept, "{:.0%}".format),
            *(over(value, si) for value in (r.tokens, r.tokens_read, r.tokens_computed)),
            over(r.seconds, "{:.1f}".format),
        )
        for r in results
    ]
    note = (
        f"Loss: {results[0].loss.replace('_', ' ')}. kept: share of the tokens read that passed the filter "
        "(mixed keeps all, and draws the target's again and again); read: tokens of the corpus, the forwards "
        "that a run of its own pays; "
        "computed: those paid here, where an earlier run's were in the cache; seconds: of a run of its own, "
        "in CPU time (on a GPU: wall time), the tokens read being counted at this study's pace."
    )
    return Table("What the filter buys", (*_group_headings(results), *headings[2:], "seconds"), rows, note)


def until_table(results: Sequence[FilterResult]) -> Table:
    headings = (
        *("split", "trained to split", "read to split"),
        *("matched", "trained to match", "read to match", "seconds to match"),
    )
    rows = [
        (
            *_group(r, results),
            share(r.successes, r.judged),
            over(r.to_split, si),
            over(r.read_to_split, si),
            share(r.matched, r.runs),
            over(r.to_match, si),
            over(r.read_to_match, si),
            over(r.seconds_to_match, "{:.1f}".format),
        )
        for r in results
    ]
    note = "split: until the judge found every expected child, at that evaluation and every later one."
    references = [r.reference for r in results if r.reference is not None]
    if references:
        ends = ", ".join(f"{value:.2f}" for value in dict.fromkeys(references))
        note += (
            " matched: until the mean F1 first reached 95 % of that with which filtered data (rows, where "
            f"there are any) and narrow initialisation end ({ends}). Both are as fine as the evaluations lie "
            "apart."
        )
    return Table("How soon", (*_group_headings(results), *headings), rows, note)


def course_tables(results: Sequence[FilterResult]) -> list[Table]:
    """Split quality on the way, a table for every target."""
    found: list[Table] = []
    for target in dict.fromkeys(r.target for r in results):
        of_target = [r for r in results if r.target == target and any(s.mean_f1 for s in r.course)]
        tokens = sorted({sample.tokens for r in of_target for sample in r.course if sample.tokens})
        if not tokens:
            continue
        rows = [
            (r.data, r.init.replace("_", " "), *(_sample(samples.get(n)) for n in tokens))
            for r in of_target
            if (samples := {sample.tokens: sample for sample in r.course})
        ]
        several = len({r.target for r in results}) > 1
        title = "Split quality on the way" + (f": feature {target}" if several else "")
        note = (
            "After so many tokens trained on: median of the mean F1 · median of the expected children found."
        )
        found.append(Table(title, ("data", "init", *map(si, tokens)), rows, note))
    return found


def _sample(sample: Sample | None) -> str:
    if sample is None or sample.mean_f1 is None:
        return ""
    passed = f" · {sample.passed.median:.3g}" if sample.passed else ""
    return f"{sample.mean_f1.median:.2f}{passed}"


def _group(result: FilterResult, results: Sequence[FilterResult]) -> tuple[str, ...]:
    named = result.data, result.init.replace("_", " ")
    return (str(result.target), *named) if len({r.target for r in results}) > 1 else named


def _group_headings(results: Sequence[FilterResult]) -> tuple[str, ...]:
    return ("target", "data", "init") if len({r.target for r in results}) > 1 else ("data", "init")
