"""What a study says of its axes and of the filter, from readings of which everything is known."""

from dataclasses import replace
from typing import Any

import pytest

from saetui.runs.cost import Cost, cost_of
from saetui.split.finding.overtaking import Lead, Overtaking
from saetui.split.recipe import SplitRecipe
from saetui.studies.cells import Cell
from saetui.studies.effects import effects, sign_test
from saetui.studies.filtering import filter_results
from saetui.studies.reading import Reading
from saetui.studies.report import replacing
from saetui.studies.results import CellResult, CurvePoint, Found, Over


def reading(
    seed: int = 1,
    passed: int | None = 3,
    fvu: float = 0.5,
    f1: tuple[float, ...] = (0.5, 1.0),
    courses: tuple[int, ...] = (1, 3),
    computed: bool = True,
    found: Found | None = None,
    state: Any = "finished",
    **recipe: Any,
) -> Reading:
    """A run of 200 tokens with evaluations after each 100; it read twice as many, at 2 s a hundred."""
    values = SplitRecipe(target=7, d_sae=64, tokens=200, seed=seed, **recipe).to_dict()
    row = " · ".join(map(str, recipe.values()))
    cell = Cell(f"{row}.f7.s{seed}", row, "", values)
    paid = Cost(200, 400, 400 if computed else 0, 9.0, 9.0, 9.0, 8.0 if computed else 0.5, 1.0)
    result = CellResult(
        cell,
        "run",
        state,
        passed=passed,
        children=None if passed is None else 3,
        found=found,
        f1={"a": f1[-1]},
        fvu=fvu,
        cost=paid,
    )
    points = tuple(
        CurvePoint(100 * i, 200 * i, 0.0, 0.5 * i, value, n, 0, 0, fvu)
        for i, (value, n) in enumerate(zip(f1, courses, strict=True), 1)
    )
    return Reading(result, points)


def test_an_axis_is_compared_in_pairs_that_differ_in_nothing_else() -> None:
    readings = [
        reading(1, 1, 0.4, init="random", loss="standard"),
        reading(2, 2, 0.5, init="random", loss="standard"),
        reading(1, 3, 0.1, init="narrow", loss="standard"),
        reading(2, 2, 0.4, init="narrow", loss="standard"),
        reading(1, 2, 0.3, init="narrow", loss="target_zeroed"),
        reading(3, 0, 9.0, init="narrow", loss="target_zeroed"),  # nobody's pair
        reading(2, 0, 9.0, state="running", init="narrow", loss="target_zeroed"),
    ]
    init, loss = effects(readings)
    assert (init.axis, init.first, init.second) == ("init", "random", "narrow")
    assert (init.pairs, init.more, init.same, init.fewer) == (2, 1, 1, 0)
    assert init.fvu and init.fvu.median == pytest.approx(-0.2) and init.fvu.low == pytest.approx(-0.3)
    assert init.p_value == 1.0
    assert (loss.axis, loss.pairs, loss.more, loss.same, loss.fewer) == ("loss", 1, 0, 0, 1)


def test_data_and_granularity_are_one_axis_and_mean_nothing_without_a_filter() -> None:
    readings = [
        reading(data="all", granularity="mixed", loss="standard"),
        reading(data="all", granularity="mixed", loss="target_zeroed"),
        reading(data="filtered", granularity="row", loss="standard"),
        reading(data="filtered", granularity="token", loss="standard", threshold=1.0),
        reading(data="all", granularity="row", loss="residual", init="random"),
    ]
    found = {(e.axis, e.first, e.second): e.pairs for e in effects(readings)}
    assert found == {
        ("data", "all", "filtered row"): 1,
        ("data", "all", "filtered token"): 1,
        ("data", "filtered row", "filtered token"): 1,
        ("loss", "standard", "target_zeroed"): 1,
    }


def test_the_sign_test_is_exact() -> None:
    assert sign_test(0, 0) is None and sign_test(3, 3) == 1.0
    assert sign_test(9, 2) == sign_test(2, 9) == pytest.approx(0.0654296875)
    assert sign_test(13, 1) == pytest.approx(0.0018310546875)
    assert sign_test(5, 0) == 0.0625


def test_without_criteria_the_children_that_were_found_are_counted() -> None:
    few, many = (Found("split", "because", n, n - 0.5, 0.9) for n in (2, 5))
    readings = [
        reading(passed=None, found=few, init="random"),
        reading(passed=None, found=many, init="narrow"),
    ]
    (effect,) = effects(readings)
    assert (effect.more, effect.same, effect.fewer) == (1, 0, 0)
    assert all(one.result.success for one in readings)


def test_what_the_filter_buys_and_what_a_run_of_its_own_costs() -> None:
    narrow: dict[str, Any] = {"init": "narrow", "data": "filtered", "granularity": "row"}
    readings = [
        reading(1, 3, courses=(3, 3), **narrow),
        reading(2, 3, courses=(3, 3), f1=(1.0, 1.0), computed=False, **narrow),
        reading(3, 3, courses=(1, 3), computed=False, **narrow),
        reading(1, 0, courses=(0, 0), f1=(0.2, 0.4), init="random", data="all"),
        reading(2, 2, courses=(3, 2), f1=(0.4, 0.97), init="random", data="all", computed=False),
        reading(1, 3, init="random", data="all", loss="residual"),  # another loss is another question
    ]
    filtered, everything = filter_results(readings)
    assert (filtered.data, filtered.init, filtered.successes, filtered.judged) == (
        "filtered row",
        "narrow",
        3,
        3,
    )
    assert filtered.to_split == Over(100, 100, 200, 3) and filtered.read_to_split == Over(200, 200, 400, 3)
    # Runs that computed paid 8 s for 400 tokens; who found them in the cache is counted the same.
    assert filtered.seconds == Over(9.0, 9.0, 9.0, 3)
    assert filtered.tokens_computed == Over(0, 0, 400, 3) and filtered.tokens_read == Over(400, 400, 400, 3)
    assert filtered.reference == 1.0 and filtered.matched == 3
    assert filtered.to_match == Over(200, 100, 200, 3) and filtered.seconds_to_match == Over(9.0, 4.5, 9.0, 3)
    assert (everything.successes, everything.to_split, everything.passed) == (0, None, Over(1, 0, 2, 2))
    assert everything.matched == 1 and everything.to_match == Over(200, 200, 200, 1)
    assert [sample.tokens for sample in everything.course] == [100, 200]
    early = everything.course[0].mean_f1
    assert early and early.median == pytest.approx(0.3) and (early.low, early.high, early.n) == (0.2, 0.4, 2)
    assert everything.course[0].passed == Over(1.5, 0, 3, 2)


def test_what_is_to_be_matched_is_what_whole_rows_end_with() -> None:
    """As in the seed, whichever granularity a study tried first."""
    narrow: dict[str, Any] = {"init": "narrow", "data": "filtered"}
    mixed = reading(granularity="mixed", f1=(0.5, 0.8), **narrow)
    rows = reading(granularity="row", f1=(0.5, 0.6), **narrow)
    assert {result.reference for result in filter_results([mixed, rows])} == {0.6}
    assert {result.reference for result in filter_results([mixed, reading(data="all")])} == {0.8}


def test_only_a_target_that_led_is_overtaken() -> None:
    def lead(feature: int, tokens: int) -> Lead:
        return Lead(tokens, tokens, feature, 1.0, 0.5)

    def seen(first: int, last: int) -> Overtaking:
        start, end = lead(first, 0), lead(last, 100)
        lost = next((one for one in (start, end) if one.feature != 7), None)
        return Overtaking("a-", "-", start, end, lost, lost, end, int(first != last))

    led, kept, never = seen(7, 9), seen(7, 7), seen(8, 8)
    readings = [replace(reading(seed), overtaken=(one,)) for seed, one in enumerate((led, kept, never))]
    readings = [replace(one, result=replace(one.result, cell=readings[0].cell)) for one in readings]
    (found,) = replacing(readings)
    assert (found.runs, found.led, found.overtaken, found.by) == (3, 2, 1, (9,))
    assert found.first == Over(100, 100, 100, 1)


def test_without_the_standard_loss_the_loss_that_there_is() -> None:
    readings = [reading(data=data, loss="target_zeroed") for data in ("all", "filtered")]
    assert [(r.loss, r.data) for r in filter_results(readings)] == [
        ("target_zeroed", "all"),
        ("target_zeroed", "filtered row"),
    ]


def test_there_is_nothing_to_buy_with_one_kind_of_data_and_initialisation() -> None:
    assert filter_results([reading(1), reading(2, loss="target_zeroed")]) == []


def test_seconds_are_cpu_time_unless_there_was_a_gpu() -> None:
    record = {"tokens": 10, "lm_s": 3.0, "sae_s": 4.0, "lm_cpu_s": 1.0, "sae_cpu_s": 2.0}
    assert cost_of([record], []).busy_s == 3.0
    assert cost_of([record, {"tokens": 20, "gpu_memory": 5}], []).busy_s == 7.0
    assert cost_of([{"tokens": 10, "lm_s": 3.0, "sae_s": 4.0}], []).busy_s == 7.0
    assert cost_of([{"tokens": 10}], []).busy_s is None
