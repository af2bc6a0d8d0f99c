"""The replacing of the target, read from records whose story is known."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from saetui.split.finding.overtaking import overtakings, own_target

TARGET = 7


def records(leaders: Sequence[int | None]) -> list[dict[str, Any]]:
    """One record a hundred tokens; the leader fires at 5, the target at 2 where it does not lead."""
    return [
        {
            "tokens": 100 * i,
            "step": i,
            "probes": [
                {
                    "prompt": "a-",
                    "token": "-",
                    "target": 5.0 if leader == TARGET else 2.0,
                    "top": [] if leader is None else [[leader, 5.0]],
                }
            ],
        }
        for i, leader in enumerate(leaders)
    ] + [{"tokens": 100 * len(leaders), "loss": 1.0}]


def test_the_story_of_one_prompt() -> None:
    (found,) = overtakings(records([7, 7, 3, 7, 3, 9, 9]), TARGET)
    assert (found.prompt, found.token, found.start.feature, found.start.target) == ("a-", "-", 7, 5.0)
    assert found.first and (found.first.tokens, found.first.feature, found.first.target) == (200, 3, 2.0)
    assert found.for_good and (found.for_good.tokens, found.for_good.feature) == (400, 3)
    assert (found.settled.tokens, found.end.feature, found.changes) == (500, 9, 4)


def test_a_target_that_holds_its_place_or_comes_back_is_not_overtaken_for_good() -> None:
    (held,) = overtakings(records([7, 7]), TARGET)
    assert held.first is None and held.for_good is None and held.settled.tokens == 0
    (back,) = overtakings(records([7, 3, 7]), TARGET)
    assert back.first and back.first.tokens == 100 and back.for_good is None
    (silent,) = overtakings(records([7, None]), TARGET)
    assert silent.first is None  # where nothing fires nothing has overtaken


def test_without_a_target_of_its_own_there_is_only_who_leads() -> None:
    (found,) = overtakings(records([3, 9, 9]), None)
    assert found.first is None and found.for_good is None and found.settled.tokens == 100
    assert own_target("split", {"init": "random", "target": 7}) is None
    assert own_target("split", {"init": "narrow_reset", "target": 7}) == 7
    assert own_target("graft", {"target": 7}) is None


@given(st.lists(st.sampled_from([7, 3, 9]), min_size=1, max_size=30))
def test_against_the_definition(leaders: list[int]) -> None:
    (found,) = overtakings(records(leaders), TARGET)
    others = [i for i, leader in enumerate(leaders) if leader != TARGET]
    assert (found.first.step if found.first else None) == (others[0] if others else None)
    for_good = [i for i in range(len(leaders)) if TARGET not in leaders[i:]]
    assert (found.for_good.step if found.for_good else None) == (for_good[0] if for_good else None)
    settled = next(i for i in range(len(leaders)) if len(set(leaders[i:])) == 1)
    assert found.settled.step == settled


def test_a_report_needs_no_torch() -> None:
    code = "import sys, saetui.studies.report, saetui.commands.study; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
