"""Whether the features that the rank before a census expects to split are those that a study split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saetui.census.agreement import agreement
from saetui.census.results import Agreement, Evidence
from saetui.errors import UsageError
from saetui.setup import Setup
from saetui.studies.report import study_report
from saetui.studies.results import Over
from saetui.studies.store import Study
from saetui.studies.targets import TargetResult

_SAME = ("model", "hook_name", "sae")
"""What makes a feature of a setup the same feature."""


@dataclass(frozen=True)
class ExpectedTarget:
    """A study's target: its ``place`` in the rank, from 1, with what ranks it, and what the study made of it:
    ``split`` of ``judged`` runs; ``effective`` number of children."""

    target: int
    place: int
    context_share: float
    judged: int
    split: int
    effective: Over | None


@dataclass(frozen=True)
class StudyAgreement:
    """The rank, of ``ranked`` features, against a study's outcome; ``targets`` in the order of the rank.

    ``agreement``: with the median effective number of children, and with whether most runs of a target split
    it; None for fewer than three targets.
    """

    study: str
    ranked: int
    targets: tuple[ExpectedTarget, ...]
    agreement: Agreement | None


def study_agreement(study: Study, setup: Setup, evidence: Sequence[Evidence]) -> StudyAgreement:
    """Holds the ``evidence`` of a setup's narrow SAE, in the order of the rank, against a study of several of
    its features. UsageError where the study is of another SAE, or of a single target."""
    report = study_report(study)
    own = setup.to_dict()
    if any(report.setup[name] != own[name] for name in _SAME):
        raise UsageError(f"{study.name} is a study of another narrow SAE than this one")
    if not report.targets:
        raise UsageError(f"{study.name} has a single target: nothing to put in order")
    return ranked(study.name, evidence, report.targets)


def ranked(name: str, evidence: Sequence[Evidence], results: Sequence[TargetResult]) -> StudyAgreement:
    """The judged ``results`` of the study called ``name``, in the order of the evidence."""
    judged = {one.target: one for one in results if one.judged}
    found = [
        (judged[one.feature], place, one) for place, one in enumerate(evidence, 1) if one.feature in judged
    ]
    return StudyAgreement(
        study=name,
        ranked=len(evidence),
        targets=tuple(
            ExpectedTarget(
                one.feature, place, one.context_share, target.judged, target.split, target.effective
            )
            for target, place, one in found
        ),
        agreement=agreement(
            "context_share",
            np.array([one.context_share for _, _, one in found]),
            np.array([target.effective.median if target.effective else 0.0 for target, _, _ in found]),
            {i for i, (target, _, _) in enumerate(found) if target.mostly_split},
        )
        if len(found) > 2
        else None,
    )
