"""Judging a cell's run: by the criteria for its target or, without any, by the split report."""

from typing import TYPE_CHECKING

from saetui.runs.store import Run
from saetui.split.judging.review import store_judgement
from saetui.studies.verdicts import store_report

if TYPE_CHECKING:
    from saetui.lm.base import LanguageModel


def judge_cell(run: Run, lm: "LanguageModel | None", report: bool = False) -> "LanguageModel":
    """Judges a finished run and stores the verdict in it: by criteria where there are any, by the split
    report where there are none or where the ``report`` is wanted. ``lm``: the language model of its setup,
    where it is open; gives it back, to be used again. Raises as ``judge`` and ``split_report``."""
    from saetui.loading import load_lm
    from saetui.split.outcome import criteria_for, judge_run, report_run, setup_of

    lm = lm or load_lm(setup_of(run))
    criteria = criteria_for(run)
    if criteria:
        store_judgement(run.folder, judge_run(run, criteria, lm=lm))
    if report or not criteria:
        store_report(run.folder, report_run(run, lm=lm))
    return lm
