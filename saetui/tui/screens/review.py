"""The review screen: one question at a time, the judge's number and evidence beside it, one key to answer.

Answers are stored as they are given, so leaving and coming back finds the first open question.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from saetui.errors import UserError
from saetui.features.results import Context
from saetui.split.review import Answer, Review, read_review, store_answers
from saetui.split.verdict import CRITERIA, ChildVerdict, CriterionResult, Evidence
from saetui.tui.actions import bindings
from saetui.tui.key_line import KeyLine
from saetui.tui.screens.line_input import LineInput
from saetui.visible import tail, visible

Key = tuple[str, int]
Judge = Callable[[Callable[[str], None]], Awaitable[None]]
"""Judges the run and stores the judgement; calls back with a line of progress."""

SHORT = {1: "alone", 2: "pattern", 3: "logits", 4: "contrasts"}


class ReviewScreen(Screen[None]):
    BINDINGS = bindings("review")
    CSS_PATH = "review.tcss"

    def __init__(self, folder: Path, title: str, judge: Judge) -> None:
        super().__init__()
        self._folder = folder
        self._title = title
        self._judge = judge
        self._review = Review()
        self._questions: list[Key] = []
        self._at = 0
        self._undo: list[tuple[Key, Answer | None]] = []
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
        self.query_one("#review-title", Static).update(self._title)
        self.run_worker(self._open(), group="judge", exclusive=True)

    async def _open(self) -> None:
        try:
            self._review = read_review(self._folder)
            if self._review.judgement is None:
                self._say("judging by the four criteria …")
                await self._judge(self._say)
                self._review = read_review(self._folder)
        except UserError as error:
            self._say(str(error), error=True)
            return
        if self._review.judgement is None:
            self._say("the judge gave no judgement: see the run's log", error=True)
            return
        self._questions = [
            (child.child, result.criterion)
            for child in self._review.judgement.children
            for result in child.criteria
        ]
        self._notes = {key: answer.note for key, answer in self._review.answers.items() if answer.note}
        self._at = self._next_open(0)
        self._show()

    def _say(self, line: str, error: bool = False) -> None:
        question = self.query_one("#question", Static)
        question.set_class(error, "-error")
        question.update(Text(line))

    # -- answering

    def action_yes(self) -> None:
        self._answer(True)

    def action_no(self) -> None:
        self._answer(False)

    def action_accept(self) -> None:
        if self._questions:
            self._answer(self._result(self._questions[self._at])[1].passed)

    def action_unsure(self) -> None:
        """The judge's word stands, and the question counts as answered."""
        self._answer(None)

    def _answer(self, verdict: bool | None) -> None:
        if not self._questions:
            return
        key = self._questions[self._at]
        before = self._review.answers.get(key)
        answer = self._review.answer(*key, verdict, self._notes.get(key, ""), unsure=verdict is None)
        if self._store(answer):
            self._undo.append((key, before))
            self._at = self._next_open(self._at + 1)
            self._show()

    def action_undo(self) -> None:
        if not self._undo:
            self.notify("nothing to take back in this sitting")
            return
        key, before = self._undo[-1]
        if self._store(before or self._review.answer(*key, None)):
            self._undo.pop()
            self._at = self._questions.index(key)
            self._show()

    def action_note(self) -> None:
        if not self._questions:
            return
        key = self._questions[self._at]

        def keep(note: str | None) -> None:
            if note is None:
                return
            self._notes[key] = note
            if answer := self._review.answers.get(key):
                self._store(replace(answer, note=note))
            self._show()

        self.app.push_screen(
            LineInput(f"Note on {key[0]}, {CRITERIA[key[1]]}", self._notes.get(key, "")), keep
        )

    def _store(self, answer: Answer) -> bool:
        """Writes the answer down, and only then believes it."""
        try:
            store_answers(self._folder, [answer])
        except (UserError, OSError) as error:
            self.notify(f"the answer was not stored: {error}", severity="error")
            return False
        answers = dict(self._review.answers)
        if answer.given:
            answers[answer.child, answer.criterion] = answer
        else:
            answers.pop((answer.child, answer.criterion), None)
        self._review = replace(self._review, answers=answers)
        return True

    # -- moving

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
        self.workers.cancel_group(self, "judge")
        self.dismiss()

    # -- showing

    def _result(self, key: Key) -> tuple[ChildVerdict, CriterionResult]:
        assert self._review.judgement is not None
        child = self._review.judgement.child(key[0])
        assert child is not None
        return child, next(result for result in child.criteria if result.criterion == key[1])

    def _show(self) -> None:
        review, judgement = self._review, self._review.judgement
        assert judgement is not None
        answered, count = len(review.answers), len(self._questions)
        result = review.result_line()
        progress = (
            f"done: {result}" if answered == count else f"{answered}/{count} answered · so far {result}"
        )
        self.query_one("#progress", Static).update(progress)
        self.query_one("#matrix", Static).update(self._matrix(judgement.children))
        key = self._questions[self._at]
        child, criterion = self._result(key)
        question = self.query_one("#question", Static)
        question.remove_class("-error")
        question.update(self._question(child, criterion))
        self.query_one("#evidence-body", Static).update(_evidence(criterion.evidence, self.size.width - 4))
        self.query_one("#evidence").scroll_home(animate=False)

    def _matrix(self, children: list[ChildVerdict]) -> Table:
        table = Table.grid(padding=(0, 2))
        for _ in range(3 + len(CRITERIA)):
            table.add_column(no_wrap=True)
        table.add_row(
            "",
            Text("child", "bold"),
            Text("feature", "bold"),
            *(Text(f"{n} {SHORT[n]}", "bold") for n in CRITERIA),
        )
        for child in children:
            holds = self._review.child_holds(child)
            cells = [self._cell((child.child, result.criterion), result) for result in child.criteria]
            feature = "none" if child.feature is None else str(child.feature)
            table.add_row("✓" if holds else "✗", Text(child.child), feature, *cells)
        return table

    def _cell(self, key: Key, result: CriterionResult) -> Text:
        answer = self._review.answers.get(key)
        here = self._questions[self._at] == key
        mark = "✓" if self._review.holds(*key) else "✗"
        # A person's word stands bare, the judge's suggestion in brackets, with ? where the person cannot
        # tell: told apart without colour.
        word = f"({mark})" if answer is None else f"?{mark} " if answer.unsure else f" {mark} "
        text = Text(f"{'▸' if here else ' '}{word}{_number(result.number)}", "reverse" if here else "")
        if answer is not None and answer.verdict not in (None, result.passed):
            text.append(" ≠", "bold")
        text.stylize(Style(meta={"@click": f"screen.question({self._questions.index(key)})"}))
        return text

    def _question(self, child: ChildVerdict, result: CriterionResult) -> RenderableType:
        key = (child.child, result.criterion)
        bound = "at most" if result.criterion == 4 else "at least"
        lines = [
            Text(f"{child.child}: {CRITERIA[result.criterion]}?", "bold"),
            Text(
                f"{_number(result.number)}, {bound} {_number(result.threshold)} asked: the judge says "
                f"{'it holds' if result.passed else 'it fails'}. {result.evidence.note}"
            ),
        ]
        if answer := self._review.answers.get(key):
            word = (
                "unsure: the judge's word stands" if answer.unsure else "holds" if answer.verdict else "fails"
            )
            lines.append(Text(f"your answer: {word}", "bold"))
        if note := self._notes.get(key):
            lines.append(Text(f"note: {note}", "italic"))
        return Group(*lines)


def _number(value: float | None) -> str:
    return "  – " if value is None else f"{value:4.2f}"


def _evidence(evidence: Evidence, width: int) -> Group:
    rows: list[RenderableType] = []
    for reading in evidence.prompts:
        others = " · ".join(f"{top.feature} {top.activation:.2f}" for top in reading.top)
        rows.append(Text(f"{reading.child:6.2f}  {visible(reading.prompt)}"))
        rows.append(Text(f"        strongest: {others or 'nothing fires'}", "dim"))
    for read in evidence.contexts:
        rows.append(_context_line(read.context, "✓" if read.follows and read.on_token else "✗", width))
    if evidence.logits:
        words = Text()
        for logit in evidence.logits:
            words.append(
                f"{'✓' if logit.expected else ' '}{visible(logit.token, dots=True)} ",
                "bold" if logit.expected else "",
            )
            words.append(f"{logit.logit:.2f}   ", "dim")
        rows.append(words)
    return Group(*rows)


def _context_line(context: Context, mark: str, width: int) -> Text:
    left = visible("".join(context.tokens[: context.center]))
    right = visible("".join(context.tokens[context.center + 1 :]))
    room = max((width - 24) // 2, 10)
    line = Text(f"{mark} {context.activation:6.2f}  {tail(left, room):>{room}}")
    line.append(visible(context.tokens[context.center]), "reverse bold")
    line.append(right)
    line.no_wrap = True
    line.overflow = "ellipsis"
    return line
