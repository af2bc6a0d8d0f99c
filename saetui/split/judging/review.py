"""The verdict on a run: what the judge found, and what a person says to it. Without torch.

``judgements.jsonl`` in the run directory holds both, in the order in which they were given:

- ``{"by": "judge", "judgement": {…}}``: one record for a whole judging, so that a torn file never holds
  half of one;
- ``{"by": "person", "child", "criterion", "verdict", "feature", "number", "note", "unsure"}``: one answer;
  ``verdict`` true or false overrules (or confirms) the judge; null leaves the judge's word standing, as the
  answer of a person who cannot tell where ``unsure`` is true, and else takes the answer back;

each with the journal's own ``t``, the time at which it was given.
A person's answer is about the feature that was on the screen: it holds while the judge picks that feature.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from saetui.atomic import write_atomic
from saetui.errors import UsageError, UserError
from saetui.runs.files import signature
from saetui.runs.journal import Journal
from saetui.runs.tail import read_records
from saetui.split.judging.verdict import ChildVerdict, CriterionResult, Judgement

FILE_NAME = "judgements.jsonl"
CRITERIA_FILE = "criteria.toml"
"""A run's own criteria, in its folder: what it was judged by last, or is to be judged by."""


@dataclass(frozen=True)
class Answer:
    """A person's word on one criterion of one child. ``verdict`` None: they cannot tell (``unsure``), or take
    an earlier word back."""

    child: str
    criterion: int
    verdict: bool | None
    feature: int | None
    number: float | None
    note: str = ""
    unsure: bool = False

    @property
    def given(self) -> bool:
        """Whether it answers the question, rather than opening it again."""
        return self.verdict is not None or self.unsure


@dataclass(frozen=True)
class Review:
    """The latest judgement with the answers that hold for it."""

    judgement: Judgement | None = None
    answers: dict[tuple[str, int], Answer] = field(default_factory=dict[tuple[str, int], Answer])
    notes: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    """What was noted on a question, answered or not."""

    @classmethod
    def of(cls, records: Iterable[dict[str, Any]]) -> "Review":
        """From the records of ``judgements.jsonl``, oldest first."""
        judgement = None
        latest: dict[tuple[str, int], Answer] = {}
        for record in records:
            if record.get("by") == "judge" and "judgement" in record:
                judgement = Judgement.from_dict(record["judgement"])
            elif record.get("by") == "person":
                answer = Answer(
                    **{name: record[name] for name in Answer.__dataclass_fields__ if name in record}
                )
                latest[answer.child, answer.criterion] = answer
        if judgement is None:
            return cls()
        features = {child.child: child.feature for child in judgement.children}
        about = {
            key: answer
            for key, answer in latest.items()
            if key[0] in features and features[key[0]] == answer.feature
        }
        return cls(
            judgement,
            {key: answer for key, answer in about.items() if answer.given},
            {key: answer.note for key, answer in about.items() if answer.note},
        )

    def holds(self, child: str, criterion: int) -> bool:
        """Whether a criterion is met: the person's word if they could tell, else the judge's."""
        answer = self.answers.get((child, criterion))
        if answer is not None and answer.verdict is not None:
            return answer.verdict
        return self._result(child, criterion).passed

    def child_holds(self, child: ChildVerdict) -> bool:
        return all(self.holds(child.child, result.criterion) for result in child.criteria)

    @property
    def passed(self) -> int:
        return sum(self.child_holds(child) for child in self.judgement.children) if self.judgement else 0

    @property
    def by(self) -> str:
        """Whose verdict it is: ``judge``, ``person`` (decided every criterion) or ``judge and person``."""
        asked = sum(len(child.criteria) for child in self.judgement.children) if self.judgement else 0
        decided = sum(answer.verdict is not None for answer in self.answers.values())
        if not decided:
            return "judge"
        return "person" if decided == asked else "judge and person"

    def result_line(self) -> str:
        """``2 of 3 children; no feature of its own for number (criteria 1, 4)``."""
        if self.judgement is None:
            return "not judged"
        missing = []
        for child in self.judgement.children:
            failed = [str(r.criterion) for r in child.criteria if not self.holds(child.child, r.criterion)]
            if failed:
                missing.append(
                    f"{child.child} ({'criterion' if len(failed) == 1 else 'criteria'} {', '.join(failed)})"
                )
        line = f"{self.passed} of {len(self.judgement.children)} children"
        return f"{line}; no feature of its own for {', '.join(missing)}" if missing else line

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values, with what holds after the person's word for every criterion."""
        children = self.judgement.children if self.judgement else []
        return {
            "result": self.result_line(),
            "passed": self.passed,
            "children": len(children),
            "by": self.by,
            "holds": {
                child.child: {str(r.criterion): self.holds(child.child, r.criterion) for r in child.criteria}
                for child in children
            },
            "judgement": self.judgement.to_dict() if self.judgement else None,
            "answers": [asdict(answer) for answer in self.answers.values()],
        }

    def answer(
        self, child: str, criterion: int, verdict: bool | None, note: str = "", unsure: bool = False
    ) -> Answer:
        """A person's answer to what is shown. UsageError for a child or criterion that is not."""
        result = self._result(child, criterion)
        shown = self.judgement.child(child) if self.judgement else None
        return Answer(
            child, criterion, verdict, shown.feature if shown else None, result.number, note, unsure
        )

    def _result(self, child: str, criterion: int) -> CriterionResult:
        if self.judgement is None:
            raise UsageError("this run has not been judged yet: judge it first (saetui judge)")
        verdict = self.judgement.child(child)
        if verdict is None:
            names = ", ".join(repr(c.child) for c in self.judgement.children)
            raise UsageError(f"no child {child!r} in the judgement: there are {names}")
        for result in verdict.criteria:
            if result.criterion == criterion:
                return result
        asked = ", ".join(str(result.criterion) for result in verdict.criteria)
        raise UsageError(f"no criterion {criterion} for {child!r}: there are {asked}")


@dataclass(frozen=True)
class Result:
    """A verdict without its evidence: expected children for which all criteria hold, of how many, and whose
    word that is (``Review.by``)."""

    passed: int
    children: int
    by: str


def stored_result(folder: Path) -> Result | None:
    """The verdict stored in a run directory, read again only where it has changed; None where there is none,
    or one of another version."""
    path = folder / FILE_NAME
    return _result(path, *signature(path))


@lru_cache(4096)
def _result(path: Path, size: int, changed: int) -> Result | None:
    if not size:
        return None
    try:
        review = read_review(path.parent)
    except (UserError, KeyError, TypeError, ValueError):
        return None
    if review.judgement is None:
        return None
    return Result(review.passed, len(review.judgement.children), review.by)


def read_review(folder: Path) -> Review:
    """The verdict stored in a run directory; empty where nothing has been judged."""
    return Review.of(read_records(folder / FILE_NAME))


def is_open(folder: Path) -> bool:
    """Whether a person has not yet answered every question of a run: of one that is not judged, too."""
    review = read_review(folder)
    if review.judgement is None:
        return True
    asked = sum(len(child.criteria) for child in review.judgement.children)
    return len(review.answers) < asked


def store_judgement(folder: Path, judgement: Judgement) -> None:
    """Append the judge's reading to the run directory, and keep the criteria file that it was made by there.

    OSError where the disk takes no more.
    """
    source = Path(judgement.source)
    criteria = source.read_bytes() if source.is_file() else b""
    # A file that was changed since is not what the judge read.
    if hashlib.sha256(criteria).hexdigest() == judgement.sha256:
        write_atomic(folder / CRITERIA_FILE, criteria)
    with Journal(folder / FILE_NAME) as journal:
        journal.append(by="judge", judgement=judgement.to_dict())
        journal.sync()


def store_answers(folder: Path, answers: Iterable[Answer]) -> None:
    """Append a person's answers. An undo is a later answer: verdict None, or the earlier one again."""
    with Journal(folder / FILE_NAME) as journal:
        for answer in answers:
            journal.append(by="person", **asdict(answer))
        journal.sync()
