"""The children finder on the known splits and impostors of the synthetic world: the cases of
`benchmarks.children`, with one graft instead of several."""

import pytest

from saetui.worlds.children_found import Result, Scores, judge_cases
from saetui.worlds.known_splits import cases


@pytest.fixture(scope="module")
def results() -> list[Result]:
    """One graft for all of them: training is what takes long."""
    trained = ("wide, filtered (ships)", "wide, all data (ships)", "graft, k 6, seed 0")
    return judge_cases([c for c in cases(seeds=[0]) if c.group != "trained" or c.name in trained])


def test_there_are_enough_cases_of_every_kind(results: list[Result]) -> None:
    groups = [one.group for one in results]
    assert len(groups) >= 30
    assert all(groups.count(group) >= 3 for group in ("split", "partial", "impostor", "trained"))


def test_every_impostor_is_seen_through(results: list[Result]) -> None:
    assert [(r.case, r.kind) for r in results if r.group == "impostor" and not r.verdict_right] == []


def test_every_verdict_is_right(results: list[Result]) -> None:
    assert [(r.case, r.kind) for r in results if not r.verdict_right] == []


def test_children_are_found_and_few_others(results: list[Result]) -> None:
    made = Scores.of([one for one in results if one.group in ("split", "partial")])
    assert made.precision is not None and made.recall is not None
    assert made.precision >= 0.95 and made.recall >= 0.95
    trained = Scores.of([one for one in results if one.group == "trained"])
    assert trained.recall == 1.0
    nothing = Scores.of([one for one in results if one.expected in (("unsplit",), ("lost",))])
    assert (nothing.found, nothing.known) == (0, 0)
