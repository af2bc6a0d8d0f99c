"""A run as plain values, as flat records, and as a document."""

from dataclasses import asdict
from typing import Any

from saetui.engine.messages import decode
from saetui.feature_marks import NARROW, FeatureMarks, Mark
from saetui.quantities import duration, si
from saetui.reports.document import Block, ContextBlock, Document, Heading, Plot, Table, Text
from saetui.reports.provenance import files_of, inputs_of
from saetui.reports.split_report import report_blocks
from saetui.reports.svg import Series, line_plot
from saetui.reports.verdict_text import number_text
from saetui.runs.cost import cost
from saetui.runs.metrics import curve
from saetui.runs.store import Run
from saetui.setup import Setup
from saetui.split.finding.report import SplitReport
from saetui.split.judging.review import Review, read_review
from saetui.split.judging.verdict import CRITERIA, ChildVerdict
from saetui.studies.verdicts import read_report
from saetui.visible import visible

EVALUATION_COLUMNS = ("tokens", "fvu", "l0", "ce", "ce_sae", "ce_zero", "ce_recovered")
LAST_COLUMNS = ("tokens", "loss", "mse", "l1", "l0", "fvu", "dead", "kept", "tokens_per_s")
PLOTS = (("loss", "loss"), ("fvu", "FVU"), ("l0", "L0"), ("ce_recovered", "CE loss recovered"))


def run_values(run: Run) -> dict[str, Any]:
    """Everything that is exported, as plain values."""
    manifest = run.manifest
    records, events = curve(run.read_metrics()), run.read_events()
    training = [r for r in records if "loss" in r and not r.get("eval")]
    return {
        "id": run.id,
        "kind": manifest.kind,
        "state": run.state(),
        "created": manifest.created,
        "note": manifest.note,
        "feature_notes": [asdict(mark) for mark in _noted(run)],
        "setup": manifest.setup,
        "inputs": inputs_of(events),
        "recipe": manifest.recipe,
        "versions": manifest.versions,
        "cost": asdict(cost(run, records)),
        "curve": {
            "records": len(training),
            "first": training[0] if training else None,
            "last": training[-1] if training else None,
            "evaluations": [
                {key: r[key] for key in EVALUATION_COLUMNS if key in r} for r in records if r.get("eval")
            ],
        },
        "events": events,
        "verdict": read_review(run.folder).to_dict(),
        "report": read_report(run.folder),
        "files": files_of(run),
    }


def _noted(run: Run) -> list[Mark]:
    """What a person noted on the run's target and on the features that it ended with."""
    marks, target = FeatureMarks(Setup.from_dict(run.manifest.setup)), run.manifest.recipe["target"]
    own = [
        mark for mark in marks.kept() if mark.sae == run.id or (mark.sae, mark.feature) == (NARROW, target)
    ]
    return sorted((mark for mark in own if mark.note), key=lambda mark: (mark.sae != NARROW, mark.feature))


def curve_records(run: Run) -> list[dict[str, Any]]:
    """One flat record per point of the curve, for a spreadsheet or a data frame; ``f1 NAME`` is a child's."""
    records: list[dict[str, Any]] = []
    for point in curve(run.read_metrics()):
        flat = {key: value for key, value in point.items() if not isinstance(value, (list, dict))}
        flat |= {f"f1 {child['child']}": child["f1"] for child in point.get("children") or []}
        if flat.keys() - {"t", "tokens", "step"}:
            records.append(flat)
    return records


def run_document(run: Run) -> Document:
    """The run to read: verdict with its evidence, plots, recipe, cost, and what it takes to repeat it."""
    values = run_values(run)
    manifest, training = run.manifest, values["curve"]
    blocks: list[Block] = [Text(manifest.note)] if manifest.note else []
    blocks.append(Text(f"State: {values['state']}. Verdict: {values['verdict']['result']}."))
    if noted := _noted(run):
        rows = [(f"{mark.feature} of {mark.sae}", mark.note) for mark in noted]
        blocks.append(Table("Notes on its features", ("feature", "note"), rows))
    blocks += verdict_blocks(read_review(run.folder))
    blocks += stored_report_blocks(values["report"])
    blocks += _plots(run)
    blocks += _ungated(values["events"])
    blocks += [
        Heading("How it was made"),
        Table("Recipe", ("option", "value"), pairs(manifest.recipe)),
        Table("Setup", ("option", "value"), pairs({k: v for k, v in manifest.setup.items() if v})),
    ]
    if values["inputs"]:
        note = "Equal fingerprints promise equal weights, and equal rows in equal order."
        blocks.append(Table("Inputs", ("what", "fingerprint"), pairs(values["inputs"]), note))
    if training["last"]:
        last = {key: number(training["last"][key]) for key in LAST_COLUMNS if key in training["last"]}
        blocks.append(Table("Training", ("at the end", "value"), pairs(last)))
    paid = {key: number(value) for key, value in values["cost"].items() if value is not None}
    blocks.append(Table("Cost", ("what", "value"), pairs(paid)))
    if training["evaluations"]:
        rows = [
            tuple(number(evaluation.get(key)) for key in EVALUATION_COLUMNS)
            for evaluation in training["evaluations"]
        ]
        blocks.append(Table("Evaluations on held-out rows", EVALUATION_COLUMNS, rows))
    blocks.append(Table("Versions", ("package", "version"), pairs(manifest.versions)))
    if values["files"]:
        files = [(f["path"], str(f["bytes"]), f["sha256"]) for f in values["files"]]
        blocks.append(Table("Files", ("file", "bytes", "sha256"), files))
    if values["events"]:
        start = values["events"][0]["t"]
        events = [(duration(e["t"] - start), e["kind"], str(e.get("message", ""))) for e in values["events"]]
        blocks.append(Table("Events", ("after", "event", "message"), events))
    return Document(f"{run.id}: {manifest.kind} of feature {manifest.recipe['target']}", blocks)


def number(value: Any) -> str:
    """A number as a table shows it: four digits, counts in thousands and millions."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else si(value) if isinstance(value, int) else str(value)


def verdict_blocks(review: Review) -> list[Block]:
    """A verdict with its evidence; nothing where nothing was judged."""
    judgement = review.judgement
    if judgement is None:
        return []
    blocks: list[Block] = [
        Heading("Verdict"),
        Text(
            f"{judgement.encoder}, by “{judgement.criteria}” (sha256 {judgement.sha256}), over "
            f"{judgement.tokens_read:,} held-out tokens of {judgement.rows}. Verdict: {review.by}."
        ),
    ]
    for child in judgement.children:
        blocks += _child(review, child)
    return blocks


def _child(review: Review, child: ChildVerdict) -> list[Block]:
    feature = "no feature" if child.feature is None else f"feature {child.feature}"
    word = "found" if review.child_holds(child) else "not found"
    rows: list[tuple[str, ...]] = []
    evidence: list[Block] = []
    for result in child.criteria:
        answer = review.answers.get((child.child, result.criterion))
        by = "judge" if answer is None else "person"
        note = visible(answer.note if answer is not None and answer.note else result.evidence.note)
        holds = "✓" if review.holds(child.child, result.criterion) else "✗"
        rows.append(
            (f"{result.criterion} {CRITERIA[result.criterion]}", number_text(result), holds, by, note)
        )
        if result.evidence.prompts:
            prompts = [
                (
                    visible(p.prompt),
                    f"{p.child:.2f}",
                    ", ".join(f"{a.feature}: {a.activation:.2f}" for a in p.top[:3]),
                )
                for p in result.evidence.prompts
            ]
            evidence.append(Table("", (f"prompts of {result.criterion}", "child", "strongest"), prompts))
        read = result.evidence.contexts
        if read:
            marks = ["✓" if one.on_token and one.follows else "✗" for one in read]
            evidence.append(ContextBlock([one.context for one in read], marks))
        if result.evidence.logits:
            words = (
                f"{'✓' if w.expected else '·'} {visible(w.token, dots=True)}" for w in result.evidence.logits
            )
            evidence.append(Text("Boosted: " + "   ".join(words)))
    table = Table("", ("criterion", "number", "holds", "by", "evidence"), rows)
    return [Heading(f"{child.child}: {feature}, {word}", 3), table, *evidence]


def stored_report_blocks(stored: dict[str, Any] | None) -> list[Block]:
    """A split report, as ``read_report`` gives it; nothing where there is none."""
    return report_blocks(decode(SplitReport, stored)) if stored else []


def _plots(run: Run) -> list[Block]:
    records = curve_records(run)
    wanted = [(name, [Series(name, _points(records, key))]) for key, name in PLOTS]
    children = dict.fromkeys(key for record in records for key in record if key.startswith("f1 "))
    f1 = [Series(key.removeprefix("f1 "), _points(records, key), i) for i, key in enumerate(children)]
    wanted.append(("F1 of the expected children", f1))
    plots: list[Block] = []
    for name, series in wanted:
        if any(len(one.points) > 1 for one in series):
            plots.append(Plot(name, line_plot(series, "tokens", name)))
    return [Heading("Curves"), *plots] if plots else []


def _points(records: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """Of the training or of the evaluations, never both in one line: held-out numbers where there are any."""
    known = [record for record in records if record.get(key) is not None]
    held_out = [record for record in known if record.get("eval")]
    return [(record["tokens"], record[key]) for record in held_out or known]


def _ungated(events: list[dict[str, Any]]) -> list[Block]:
    found = [event for event in events if event["kind"] == "ungated"]
    if not found:
        return []
    last = found[-1]
    rows = [
        (what, *(f"{last[f'{key}_{kind}']:.4g}" for kind in ("narrow", "gated", "ungated")))
        for key, what in (("error", "squared error on the target's tokens"), ("fvu", "FVU on all tokens"))
    ]
    note = (
        f"Over {last['tokens']:,} held-out tokens, {last['hot']:,} of them the target's. Without its gate a "
        f"child fires on {last['off_target']:.2%} of the other tokens; {last['precision']:.1%} of the "
        "children's firings are on the target's."
    )
    return [Table("Without the gate", ("measure", "narrow SAE", "gated", "ungated"), rows, note)]


def pairs(values: dict[str, Any]) -> list[tuple[str, ...]]:
    """The rows of a table of two columns."""
    return [(str(key), str(value)) for key, value in values.items()]
