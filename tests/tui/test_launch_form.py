"""The launch form on screens of every height, and recipes that are none."""

import pytest
from textual.widgets import Input

from saetui.errors import UserError
from saetui.tui.screens import launch
from saetui.tui.screens.launch import LaunchScreen
from tests.tui.bench import Bench, bench
from tests.tui.fake_engine import FakeEngine
from tests.tui.snapshot import screen_text
from tests.tui.test_workbench_splitting import control

LOGOUT = (
    "systemd ends this login's processes at logout (KillUserProcesses=yes): for runs that go on, start "
    "saetui with `loginctl enable-linger somebody && systemd-run --user --scope saetui`"
)


def in_view(it: Bench) -> bool:
    """Whether the control in hand is on the screen, and nothing over it."""
    focused = it.app.focused
    assert focused is not None
    fields = it.app.screen.query_one("#fields")
    return fields.content_region.contains_region(focused.region) and focused.region.height > 0


@pytest.mark.parametrize("size", [(80, 20), (80, 24), (80, 30), (120, 24), (120, 33), (120, 40), (200, 60)])
async def test_the_field_in_hand_is_in_view_whatever_is_said_below(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saetui.tui.screens.launch.survives_logout", lambda: LOGOUT)
    async with bench(size=size) as it:
        await it.press("s", "f3")
        form = it.app.screen
        assert isinstance(form, LaunchScreen)
        for row in form._fields:
            row.control.focus()
            await it.settle()
            await it.wait_for(lambda: in_view(it))
            if isinstance(row.control, Input) and row.field.name not in ("target", "d_sae"):
                before = row.control.value
                row.control.value = "-1"  # its complaint takes a line, and what is said below gives way
                await it.settle()
                await it.wait_for(lambda: in_view(it))
                row.control.value = before
                await it.settle()
                await it.wait_for(lambda: in_view(it))


@pytest.mark.parametrize("height", [24, 28, 32, 36, 40])
async def test_the_form_is_no_higher_than_what_it_says(height: int) -> None:
    async with bench(size=(120, height)) as it:
        await it.press("s")
        form = it.app.screen.query_one("#launch")
        lines = screen_text(it.app).splitlines()[form.region.y : form.region.bottom]
        blank = [line for line in lines if not line[form.region.x + 1 : form.region.right - 1].strip()]
        assert len(blank) <= 1, "\n".join(lines)


async def test_values_that_do_not_go_together_are_said_and_not_launched() -> None:
    async with bench() as it:
        await it.press("s")
        control(it, "loss").value = "residual"
        await it.settle()
        assert it.line("#cost").startswith("loss residual needs init random") and not it.line("#command")
        await it.press("f2", "enter")
        assert isinstance(it.app.screen, LaunchScreen)
        control(it, "init").value = "random"
        await it.settle()
        assert "tokens in" in it.line("#cost") and "--loss residual" in it.line("#command")


async def test_where_no_run_has_been_a_few_steps_that_are_tried_say_how_long_it_takes() -> None:
    def a_part(engine: FakeEngine) -> None:
        engine.errors["trial"] = UserError("the engine is busy")

    async with bench() as it:
        await it.press("s")
        # 140M of text at a microsecond, 26.2M tokens of which a fifth are trained on while the SAE is dense.
        await it.wait_for(lambda: "time: ~" in it.line("#cost"))
        await it.settle()
        assert "time: ~7m17s, a guess by a few steps tried here; the first run will tell" in it.line("#cost")
        width = control(it, "d_sae")
        assert isinstance(width, Input)
        width.value = "5000"
        width.value = "8192"
        await it.wait_for(lambda: "time: ~12m17s" in it.line("#cost"))
        asked = [args["recipe"]["d_sae"] for op, args in it.engine.asked if op == "trial"]
        assert asked == [4096, 8192]  # not of what was on the way of being typed
    async with bench(prepare=a_part) as it:
        await it.press("s")
        await it.settle()
        assert "time:" not in it.line("#cost")


async def test_more_memory_than_there_is_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "free_space", lambda: launch.Free(10**12, 10**12, 10**10, 16_000_000_000))
    async with bench() as it:
        await it.press("s")
        await it.wait_for(lambda: "disk:" in it.line("#cost"))
        assert "memory" not in it.line("#cost")
        width = control(it, "d_sae")
        assert isinstance(width, Input)
        width.value = "2048500"
        await it.wait_for(lambda: "NOT ENOUGH memory" in it.line("#cost"))
