"""The review screen: one question at a time, the judge's number and evidence beside it, one key to answer.

It goes from run to run through a queue. Answers are stored as they are given, so that leaving and coming back
finds the first open question; while one run is reviewed, the judge reads the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from saetui.errors import UserError
from saetui.split.judging.review import Answer, Review, read_review, store_answers
from saetui.split.judging.verdict import CRITERIA, ChildVerdict, CriterionResult
from saetui.tui import disk
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.screens.line_input import LineInput
from saetui.tui.screens.review_view import Key, evidence, matrix, question

Judge = Callable[[Callable[[str], None]], Awaitable[None]]
"""Judges the run and stores the judgement; calls back with a line of progress."""

ANSWERING = frozenset({"yes", "no", "unsure", "accept", "accept_child", "undo", "note"})
"""Actions that need a question on the screen: until then their keys are not offered."""


@dataclass
class Subject:
    """A run to be reviewed. ``id`` is what its headless twin calls it."""

    id: str
    folder: Path
    title: str
    judge: Judge
    judging: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the judge reads, so that nobody has it read twice."""
    say: Callable[[str], None] = lambda line: None
    """Who is told how far the judge is: whoever asked last."""

    async def read(self, say: Callable[[str], None]) -> Review:
        """The review as it is stored, judged first if need be. UserError where the judge cannot."""
        self.say = say
        async with self.judging:
            review = await asyncio.to_thread(read_review, self.folder)
            if review.judgement is None:
                say("judging …")
                await self.judge(lambda line: self.say(line))
                review = await asyncio.to_thread(read_review, self.folder)
        return review


class ReviewScreen(Screen[None]):
    BINDINGS = bindings("review")
    CSS_PATH = "review.tcss"

    def __init__(self, queue: Sequence[Subject]) -> None:
        """``queue``: at least one run, in the order in which they are put."""
        super().__init__()
        self._queue = queue
        self._index = 0
        self._review = Review()
        self._questions: list[Key] = []
        self._at = 0
        self._undo: list[tuple[int, dict[Key, Answer | None]]] = []
        """For every key that answered: the run, and what was answered before it."""
        self._notes: dict[Key, str] = {}

    def compose(self) -> ComposeResult:
        yield Static("", id="review-title", markup=False)
        yield Static("", id="progress", markup=False)
        yield Static("", id="matrix")
        yield Static("", id="question")
        with VerticalScroll(id="evidence"):
            yield Static("", id="evidence-body")
        yield KeyLine()

    def on_mount(self) -> None:
        self._open(0)

    @property
    def subject(self) -> Subject:
        return self._queue[self._index]

    # -- from run to run

    def _open(self, index: int, at: Key | None = None) -> None:
        """Puts a run on the screen, at a question, or else at its first open one."""
        self._index, self._questions, self._review = index, [], Review()
        of = f"run {index + 1} of {len(self._queue)} · " if len(self._queue) > 1 else ""
        self.query_one("#review-title", Static).update(f"{of}{self.subject.title}")
        for part in ("#progress", "#matrix", "#evidence-body"):
            self.query_one(part, Static).update("")
        self.refresh_bindings()
        self.run_worker(self._read(self.subject, at), group="judge", exclusive=True)

    async def _read(self, subject: Subject, at: Key | None) -> None:
        self._say("reading the verdict …")
        try:
            review = await subject.read(self._say)
        except UserError as error:
            self._say(str(error), error=True)
            return
        judgement = review.judgement
        if judgement is None:
            self._say("the judge gave no judgement: see the run's log", error=True)
            return
        self._review = review
        self._questions = [
            (child.child, result.criterion) for child in judgement.children for result in child.criteria
        ]
        if not self._questions:
            self._say(f"nothing to answer: {judgement.criteria}")
            return
        self._notes = dict(review.notes)
        self._at = self._questions.index(at) if at in self._questions else self._next_open(0)
        self.refresh_bindings()
        self._show()
        if self._index + 1 < len(self._queue):
            self.run_worker(self._judge_ahead(self._queue[self._index + 1]), group="ahead", exclusive=True)

    async def _judge_ahead(self, subject: Subject) -> None:
        with contextlib.suppress(UserError):  # it is said when its turn comes
            await subject.read(lambda line: None)

    def action_next_subject(self) -> None:
        self._turn(1)

    def action_previous_subject(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        if 0 <= self._index + by < len(self._queue):
            self._open(self._index + by)
        else:
            self.notify("no other run is waiting to be reviewed" if len(self._queue) == 1 else "no run there")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("next_subject", "previous_subject"):
            return len(self._queue) > 1
        return bool(self._questions) or action not in ANSWERING

    def _say(self, line: str, error: bool = False) -> None:
        asked = self.query_one("#question", Static)
        asked.set_class(error, "-error")
        asked.update(Text(line))

    # -- answering

    async def action_yes(self) -> None:
        await self._answer({self._questions[self._at]: True})

    async def action_no(self) -> None:
        await self._answer({self._questions[self._at]: False})

    async def action_accept(self) -> None:
        key = self._questions[self._at]
        await self._answer({key: self._result(key)[1].passed})

    async def action_unsure(self) -> None:
        """The judge's word stands, and the question counts as answered."""
        await self._answer({self._questions[self._at]: None})

    async def action_accept_child(self) -> None:
        """What is left of the child; what is close to its limit wants looking at, one by one."""
        child = self._questions[self._at][0]
        left = {key: self._result(key)[1] for key in self._questions if key[0] == child}
        clear = {
            key: result.passed
            for key, result in left.items()
            if key not in self._review.answers and not result.close
        }
        if clear:
            await self._answer(clear)
        else:
            self.notify(f"{child}: what is left is close to its limit: answer it by itself")

    async def _answer(self, verdicts: Mapping[Key, bool | None]) -> None:
        before = {key: self._review.answers.get(key) for key in verdicts}
        answers = [
            self._review.answer(*key, verdict, self._notes.get(key, ""), unsure=verdict is None)
            for key, verdict in verdicts.items()
        ]
        if not await self._store(answers):
            return
        self._undo.append((self._index, before))
        if None in before.values() and self._complete:
            last = self._index + 1 == len(self._queue)
            hint = "that was the last one: esc goes back" if last else "u goes back"
            self.notify(f"{self.subject.id}: {self._review.result_line()} · {hint}")
            if not last:
                self._open(self._index + 1)
                return
        self._at = self._next_open(self._at + 1)
        self._show()

    async def action_undo(self) -> None:
        """Takes back what the last key of this sitting answered, in the run that it was given in."""
        if not self._undo:
            self.notify("nothing to take back in this sitting")
            return
        index, before = self._undo[-1]
        first = next(iter(before))
        if index != self._index:
            self._open(index, first)
            self.notify("the answer before was given here: u again takes it back")
            return
        if first not in self._questions:
            return
        reopened = [
            replace(answer or self._review.answer(*key, None), note=self._notes.get(key, ""))
            for key, answer in before.items()
        ]
        if await self._store(reopened):
            self._undo.pop()
            self._at = self._questions.index(first)
            self._show()

    def action_note(self) -> None:
        key = self._questions[self._at]

        async def keep(note: str | None) -> None:
            if note is None:
                return
            answer = self._review.answers.get(key) or self._review.answer(*key, None)
            if await self._store([replace(answer, note=note)]):
                self._notes[key] = note
                self._show()

        self.app.push_screen(
            LineInput(f"Note on {key[0]}, {CRITERIA[key[1]]}", self._notes.get(key, "")), keep
        )

    async def _store(self, answers: Sequence[Answer]) -> bool:
        """Writes the answers down, and only then believes them: the next key waits for it, and nothing else
        does."""
        try:
            await disk.write(store_answers, self.subject.folder, answers)
        except (UserError, OSError) as error:
            self.notify(f"the answer was not stored: {error}", severity="error")
            return False
        held = dict(self._review.answers)
        for answer in answers:
            if answer.given:
                held[answer.child, answer.criterion] = answer
            else:
                held.pop((answer.child, answer.criterion), None)
        self._review = replace(self._review, answers=held)
        return True

    @property
    def _complete(self) -> bool:
        return all(key in self._review.answers for key in self._questions)

    # -- from question to question

    def action_next_question(self) -> None:
        self._move(1)

    def action_previous_question(self) -> None:
        self._move(-1)

    def action_question(self, at: int) -> None:
        self._at = at
        self._show()

    def _move(self, by: int) -> None:
        if self._questions:
            self._at = (self._at + by) % len(self._questions)
            self._show()

    def _next_open(self, start: int) -> int:
        """The first question without an answer from ``start`` on, going round; ``start`` if all have one."""
        count = len(self._questions)
        order = [(start + i) % count for i in range(count)]
        return next((i for i in order if self._questions[i] not in self._review.answers), order[0])

    def action_close_review(self) -> None:
        for group in ("judge", "ahead"):
            self.workers.cancel_group(self, group)
        self.dismiss()

    # -- showing

    def headless(self) -> list[str]:
        """The commands that say the same in a shell."""
        return [f"saetui judge {self.subject.id} --show"]

    def _result(self, key: Key) -> tuple[ChildVerdict, CriterionResult]:
        assert self._review.judgement is not None
        child = self._review.judgement.child(key[0])
        assert child is not None
        return child, next(result for result in child.criteria if result.criterion == key[1])

    def _show(self) -> None:
        review, key = self._review, self._questions[self._at]
        child, result = self._result(key)
        done, count, line = len(review.answers), len(self._questions), review.result_line()
        progress = f"done: {line}" if done == count else f"{done}/{count} answered · so far {line}"
        self.query_one("#progress", Static).update(progress)
        self.query_one("#matrix", Static).update(matrix(review, self._questions, self._at))
        asked = self.query_one("#question", Static)
        asked.remove_class("-error")
        asked.update(question(child, result, review.answers.get(key), self._notes.get(key, "")))
        self.query_one("#evidence-body", Static).update(evidence(result.evidence, self.size.width - 4))
        self.query_one("#evidence").scroll_home(animate=False)
