"""``saetui judge``: the verdict on a run, by the four criteria or, without criteria, by the split report."""

import click

from saetui.commands.options import json_option, limit_options
from saetui.commands.output import emit_json, say
from saetui.errors import UsageError
from saetui.reports.split_report import report_text
from saetui.reports.verdict_text import review_text
from saetui.runs.store import Run, find_run
from saetui.settings import runs_root
from saetui.split.finding.report import SplitThresholds
from saetui.split.judging.review import Answer, Review, read_review, store_answers, store_judgement
from saetui.studies.verdicts import store_report

WORDS = {"y": True, "yes": True, "n": False, "no": False, "?": None}


@click.command()
@click.argument("run_id", metavar="ID")
@click.option("--criteria", metavar="FILE", help="criteria file  [default: the run's own, else its model's]")
@click.option("--tokens", type=click.IntRange(min=1), help="held-out tokens to read")
@click.option("--show", is_flag=True, help="show the verdict that is stored, without judging again")
@click.option("--yes", "confirm", is_flag=True, help="confirm, as a person, what the judge found")
@click.option(
    "--overrule",
    "overruled",
    multiple=True,
    metavar="CHILD:CRITERION=y|n|?",
    help="a person's word on one criterion (? takes it back); may be repeated",
)
@click.option("--note", default="", help="why, stored with the person's word")
@click.option(
    "--report",
    is_flag=True,
    help="the children found without criteria, whether there are any or not, stored in the run",
)
@limit_options
@json_option
def command(
    run_id: str,
    criteria: str | None,
    tokens: int | None,
    show: bool,
    confirm: bool,
    overruled: tuple[str, ...],
    note: str,
    report: bool,
    limits: SplitThresholds,
    as_json: bool,
) -> None:
    """Judge the run ID by the four success criteria and store the verdict in it.

    A person's word (--yes, --overrule) is about the verdict that is stored; it stands until the judge picks
    another feature for the child.
    """
    run = find_run(runs_root(), run_id)
    if report:
        _report(run, tokens, limits, as_json)
        return
    review = read_review(run.folder)
    if show or confirm or overruled:
        if review.judgement is None:
            raise UsageError(f"{run.id} has not been judged yet: `saetui judge {run.id}`")
        answers = _answers(review, confirm, overruled, note)
        store_answers(run.folder, answers)
        review = read_review(run.folder)
    elif not _judge(run, criteria, tokens):
        say("no criteria file fits this run (--criteria names one); the children found without one:")
        _report(run, tokens, limits, as_json)
        return
    else:
        review = read_review(run.folder)
    if as_json:
        emit_json({"run": run.id, **review.to_dict()})
    else:
        click.echo(review_text(review))


def _judge(run: Run, criteria_path: str | None, tokens: int | None) -> bool:
    """Judges and stores; False where there are no criteria to judge by."""
    from saetui.split.judging.judge import DEFAULT_TOKENS
    from saetui.split.outcome import criteria_for, judge_run

    criteria = criteria_for(run, criteria_path)
    if criteria is None:
        return False
    say(f"judging {run.id} by {criteria.name!r} ({criteria.source})")
    store_judgement(run.folder, judge_run(run, criteria, tokens=tokens or DEFAULT_TOKENS))
    return True


def _report(run: Run, tokens: int | None, limits: SplitThresholds, as_json: bool) -> None:
    from saetui.split.finding.children import DEFAULT_TOKENS
    from saetui.split.outcome import report_run

    found = report_run(run, tokens=tokens or DEFAULT_TOKENS, limits=limits)
    store_report(run.folder, found)
    if as_json:
        emit_json({"run": run.id, "report": found})
    else:
        click.echo(report_text(found))


def _answers(review: Review, confirm: bool, overruled: tuple[str, ...], note: str) -> list[Answer]:
    """The person's words as records; all are checked before the first is stored."""
    given: dict[tuple[str, int], bool | None] = {}
    if confirm and review.judgement:
        for child in review.judgement.children:
            given |= {(child.child, result.criterion): result.passed for result in child.criteria}
    for word in overruled:
        where, _, verdict = word.rpartition("=")
        child, _, criterion = where.rpartition(":")
        if not child or not criterion.isdecimal() or verdict not in WORDS:
            raise UsageError(f"--overrule {word!r}: write CHILD:CRITERION=y, n or ?, as in 'count:3=y'")
        given[child, int(criterion)] = WORDS[verdict]
    return [review.answer(child, criterion, verdict, note) for (child, criterion), verdict in given.items()]
