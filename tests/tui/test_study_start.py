"""What a study comes to, told before it is started."""

from dataclasses import replace
from pathlib import Path

from saetui import settings
from saetui.split.recipe import GraftRecipe
from saetui.studies.store import Plan
from saetui.tui.run_watch import RunWatch
from saetui.tui.study_start import plan_study, planned
from tests.tui.fabricate import FakeRun
from tests.tui.fabricate_study import FakeStudy


def test_how_long_a_study_takes_is_told_by_runs_that_have_been(tmp_path: Path) -> None:
    plan = FakeStudy(tmp_path).study.plan
    watch = RunWatch(tmp_path)

    def said(plan: Plan) -> str:
        watch.poll()
        return planned(plan, watch)

    assert said(plan) == (
        "6 runs on real, of 6M tokens each; how long that takes is known once one like them is finished"
    )
    FakeRun(tmp_path, tokens=6_000_000).begin().train(6_000_000, per_second=60_000).finish()
    by = "one after another, by runs that have been"
    assert said(plan) == f"6 runs on real, of 6M tokens each: about 10m00s {by}"
    graft = FakeRun(tmp_path, "1122-1600-f240-ggg", graft=True).begin()
    graft.t += 7
    graft.finish()
    cell = replace(plan.cells[0], recipe=GraftRecipe().to_dict())
    assert said(replace(plan, kind="graft", cells=(cell,))) == (
        f"1 run on real, of 307k tokens each: about 7s {by}"
    )


async def test_what_it_comes_to_is_the_commands_own_plan(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text('title = "small"\n[setup]\nmodel = "synthetic"\n[axes]\nseed = [1, 2]\n')
    plan = await plan_study([str(path)])
    assert [cell.seed for cell in plan.cells] == [1, 2] and plan.kind == "split"
    assert not settings.runs_root().exists()
