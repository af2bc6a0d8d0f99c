"""The children finder held against the known splits of the synthetic world: verdicts, precision, recall.

python -m benchmarks children                     # prints the table
python -m benchmarks.children -o docs/children    # writes children.md and children.json
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks import _results
from saetui.reports import markdown
from saetui.reports.document import Document, Table, Text
from saetui.split.finding.report import SplitThresholds
from saetui.worlds.children_found import COVERED, PURE, TOKENS, Result, Scores, judge_cases
from saetui.worlds.known_splits import cases

GROUPS = {
    "split": "True splits, made",
    "partial": "Partial splits, made",
    "impostor": "Impostors, made",
    "trained": "Trained dictionaries",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="held-out tokens of each case")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the trained ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.process_time()
    results = judge_cases(cases(range(options.seeds)), options.tokens)
    document = report(results, options.tokens)
    print(markdown.render(document))
    seconds = time.process_time() - begun
    scores = {group: asdict(Scores.of(of)) for group, of in _groups(results).items()}
    print(f"\n{seconds:.0f} s of CPU time")
    _results.store("children", {"tokens": options.tokens, "cpu_s": seconds, "scores": scores})
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.with_suffix(".md").write_text(markdown.render(document) + "\n", encoding="utf-8")
        values = {
            "tokens": options.tokens,
            "limits": asdict(SplitThresholds()),
            "scores": scores,
            "cases": [asdict(one) | {"verdict_right": one.verdict_right} for one in results],
        }
        text = json.dumps(values, indent=1, ensure_ascii=False)
        options.output.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    wrong = [one for one in results if one.group == "impostor" and not one.verdict_right]
    return 1 if wrong else 0


def report(results: list[Result], tokens: int) -> Document:
    """The scores, then every case with its numbers."""
    groups = _groups(results)
    scores = [(name, Scores.of(of)) for name, of in groups.items()]
    rows = [
        (
            GROUPS.get(name, name),
            f"{one.verdicts} of {one.cases}",
            f"{one.right} of {one.found}" + _share(one.precision),
            f"{one.recalled} of {one.known}" + _share(one.recall),
        )
        for name, one in scores
    ]
    about = (
        f"Every case goes through the split report as any run does, over {tokens:,} unfiltered held-out "
        "tokens of the synthetic world, with the default limits. A child is right where at least "
        f"{PURE:.0%} of its activation is on hyphens of one known context; a known context is found where "
        f"right children fire on at least {COVERED:.0%} of its hyphens that the target has. Children count "
        "where the verdict claims any (split, partly, absorbed). Known contexts of a trained dictionary are "
        "the classes of the hyphen on which features that pass the first bar lead: a child that stands for a "
        "part of one counts as right, one that cuts across classes as wrong, and so does the general child "
        "of an absorbed target. Made dictionaries are least-squares fits to the labels, on the shipped "
        "language model's activations. The two rules for absorption (a general child on 60 % of the target's "
        "tokens, most of the rest being others') were settled while looking at these cases; all other limits "
        "were there before."
    )
    blocks = [
        Text(about),
        Table("Scores", ("cases", "verdicts right", "precision of children", "recall of children"), rows),
        *(_cases(GROUPS[name], of) for name, of in groups.items() if name in GROUPS),
    ]
    wrong = [one for one in results if not one.verdict_right]
    lines = [f"{one.case}: {one.kind}, expected {' or '.join(one.expected)} ({one.why})." for one in wrong]
    blocks.append(Text("Wrong verdicts: " + (" ".join(lines) or "none.")))
    return Document("Children found, against what is known", blocks)


def _groups(results: list[Result]) -> dict[str, list[Result]]:
    found = {group: [one for one in results if one.group == group] for group in GROUPS}
    return {group: of for group, of in found.items() if of} | {"all": results}


def _cases(title: str, results: list[Result]) -> Table:
    shown = ("coverage", "specificity", "effective", "margin", "overlap", "highest recall", "distinctness")
    rows = [
        (
            one.case,
            " or ".join(one.expected),
            f"{one.kind}{'' if one.verdict_right else ' ✗'}",
            f"{one.right} of {one.found}",
            f"{one.recalled} of {one.known}",
            *(_number(one.numbers[key]) for key in (*shown, "context", "p")),
        )
        for one in results
    ]
    headings = ("case", "expected", "verdict", "right", "found", *shown, "context", "p")
    return Table(title, headings, rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value >= 0.01 or value == 0 else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "" if value is None else f" ({value:.0%})"


if __name__ == "__main__":
    raise SystemExit(main())
