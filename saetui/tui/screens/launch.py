"""The launch form: a recipe, field by field, with what it will cost and the same as a command.

The form knows no field: names, groups, help and choices come from the recipe's dataclass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import Field, fields
from functools import partial
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static

from saetui.errors import UsageError, UserError
from saetui.features.results import Kept
from saetui.runs.cost import Pace
from saetui.runs.launcher import survives_logout
from saetui.split.defaults import check_fits
from saetui.split.pace import Trial
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.tui.actions import bindings
from saetui.tui.screens.launch_lines import (
    Free,
    Recipe,
    costs,
    filters,
    free_space,
    kept_line,
    machine_lines,
    shell_command,
    shown,
    text_line,
    time_line,
)
from saetui.tui.session import Session

TITLES = {
    SplitRecipe: "Split: train a wide SAE in the background",
    GraftRecipe: "Graft: children in the feature's place, now",
}
ESSENTIAL = {
    SplitRecipe: ("target", "d_sae", "init", "data", "granularity", "threshold", "loss", "tokens", "seed"),
    GraftRecipe: ("target", "children", "threshold", "l1_coeff", "steps", "seed"),
}
"""What a person changes from run to run; the rest comes with F3."""

TYPING_S = 0.3
"""After so long a rest a number is taken to be typed."""
LEAST_FIELDS = 6
"""Lines of fields that are shown on the smallest screen, whatever is said below them."""


class Choice(Static, can_focus=True):
    """One of a few values on one line: ← → or space walk them, a click takes the next."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("left", "step(-1)", "Previous"),
        ("right,space", "step(1)", "Next"),
    ]

    value: reactive[str] = reactive("")

    class Changed(Message):
        pass

    def __init__(self, values: tuple[str, ...], value: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._values = values
        self.set_reactive(Choice.value, value)

    def render(self) -> str:
        return f"‹ {self.value} ›"

    def watch_value(self) -> None:
        self.post_message(self.Changed())

    def action_step(self, by: int) -> None:
        at = self._values.index(self.value) if self.value in self._values else 0
        self.value = self._values[(at + by) % len(self._values)]

    def on_click(self) -> None:
        self.action_step(1)


class RecipeField(Vertical):
    """A name, a control and help; beneath it, when it is wrong, why."""

    def __init__(self, kind: type[Recipe], field: Field[Any], hint: Any, value: Any) -> None:
        super().__init__(classes="field")
        self.field = field
        self._kind = kind
        self._hint = hint
        self._error = Static("", classes="error", markup=False)
        self._error.display = False
        if hint is bool:
            self.control: Widget = Choice(("yes", "no"), "yes" if value else "no", classes="control")
        elif get_origin(hint) is Literal:
            self.control = Choice(get_args(hint), value, classes="control")
        else:
            self.control = Input(shown(value), compact=True, classes="control", select_on_focus=False)

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(self.field.name, classes="name", markup=False)
            yield self.control
            yield Static(str(self.field.metadata["help"]), classes="help", markup=False)
        yield self._error

    def value(self) -> Any:
        """The value as the recipe wants it. UsageError when it cannot be read or is out of range."""
        if isinstance(self.control, Choice):
            return self.control.value == "yes" if self._hint is bool else self.control.value
        assert isinstance(self.control, Input)
        text = self.control.value.strip().replace("_", "").replace(",", "")
        try:
            number = float(text)
        except ValueError:
            raise UsageError(f"{self.control.value.strip()!r} is not a number") from None
        value = int(number) if self._hint is int and number.is_integer() else number
        self._kind.from_dict({self.field.name: value})
        return value

    def check(self) -> bool:
        try:
            self.value()
        except UsageError as error:
            self._error.update(str(error))
            self._error.display = True
            return False
        self._error.display = False
        return True


class Fields(VerticalScroll):
    """All fields; the one in hand is in view, whatever becomes of their room."""

    def on_resize(self) -> None:
        self.show_focused()

    def show_focused(self) -> None:
        for row in self.query(RecipeField):
            if row.control.has_focus:
                self.scroll_to_widget(row, animate=False, immediate=True)


class Below(Vertical):
    """What is said below the fields; the form hears when that takes other room."""

    class Resized(Message):
        pass

    def on_resize(self) -> None:
        self.post_message(self.Resized())


class LaunchScreen(ModalScreen[Recipe | None]):
    """Dismisses with a valid recipe to launch, or None."""

    BINDINGS = bindings("launch")
    CSS_PATH = "launch.tcss"
    VERTICAL_BREAKPOINTS = [(0, "-short"), (36, "-tall")]  # noqa: RUF012  (Screen declares it as an instance variable)

    everything: reactive[bool] = reactive(False, init=False)

    def __init__(
        self,
        session: Session,
        recipe: Recipe,
        defaults: Recipe,
        pace: Callable[[int], Pace | None],
    ) -> None:
        """``session``: says what the filter keeps. ``recipe``: what the form begins with. ``defaults``: what
        the command takes by itself. ``pace``: that of an earlier split into so many features, or about so
        many, where there was one."""
        super().__init__()
        self._session = session
        self._pace = pace
        self._paces: dict[int, Pace | None] = {}
        """By features, once they are looked up; None: there is none."""
        self._looked_up = set[int]()
        self._defaults = defaults
        self._survival = ""
        self._free: Free | None = None
        self._asked: tuple[int, float] | None = None
        """Target and threshold of which it was asked last what they keep."""
        self._asking = False
        self._trials: dict[tuple[object, ...], Trial | None] = {}
        """What a few steps cost, by what they cost by; None: they cannot be tried."""
        self._kept: Kept | str = ""
        """The last answer, or why there is none; empty: it is waited for."""
        self._kept_above = 0.0
        """The threshold that it is about: another may have been typed since."""
        kind = type(recipe)
        self._kind = kind
        hints = get_type_hints(kind)
        self._fields = [RecipeField(kind, f, hints[f.name], getattr(recipe, f.name)) for f in fields(kind)]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="launch") as body:
            body.border_title = TITLES[self._kind]
            body.border_subtitle = "enter launches · F3 all settings · F2 copy command · esc back"
            with Fields(id="fields", can_focus=False):
                group = ""
                for row in self._fields:
                    if (new := str(row.field.metadata["group"])) != group:
                        group = new
                        yield Static(group, classes="group", id=f"group-{group}")
                    yield row
            with Below(id="below"):
                yield Static("", id="field-help", markup=False)
                yield Static("", id="cost", markup=False)
                yield Static("", id="command", markup=False)

    def on_mount(self) -> None:
        self._session.listen(self.engine_changed)
        self.show_fields()
        self.summarise()
        self._fields[1].control.focus()
        if self._kind is SplitRecipe:
            self.run_worker(self._ask_machine(), group="machine")

    def on_unmount(self) -> None:
        self._session.forget(self.engine_changed)

    def engine_changed(self) -> None:
        """It is open now, or has read more text since it was asked, or has died."""
        if self.is_running:
            if not self._asking:  # or else what is asked would never come to be answered
                self._asked = None
            self.summarise()

    def _ask_kept(self, recipe: Recipe) -> None:
        """Of what is typed now: an answer about what was typed before is not waited for."""
        wanted = (recipe.target, recipe.threshold)
        if wanted == self._asked:
            return
        if self._asked and wanted[0] != self._asked[0]:
            self._kept = ""
        if isinstance(self._kept, str):  # why there was none
            self._kept = ""
        self._asked, self._asking = wanted, True
        self.run_worker(partial(self._know_kept, *wanted), group="kept", exclusive=True)

    async def _know_kept(self, target: int, threshold: float) -> None:
        try:
            self._kept = await self._session.kept(target, threshold)
        except UserError as error:
            self._kept = str(error)
        self._kept_above, self._asking = threshold, False
        if self.is_running:
            self.summarise()

    def _time_by(self, recipe: SplitRecipe) -> Pace | Trial | None:
        """A run that has been, which is looked up in a thread; else a trial."""
        d_sae = recipe.d_sae
        if d_sae not in self._looked_up:
            self._looked_up.add(d_sae)
            self.run_worker(self._know_pace(d_sae), group="pace")
        return (self._paces[d_sae] or self._trial_of(recipe)) if d_sae in self._paces else None

    async def _know_pace(self, d_sae: int) -> None:
        pace = None
        with suppress(OSError):
            pace = await asyncio.to_thread(self._pace, d_sae)
        self._paces[d_sae] = pace
        if self.is_running:
            self.summarise()

    def _trial_of(self, recipe: SplitRecipe) -> Trial | None:
        """Where no run has been to go by: asked for once the typing rests, and said when it is there."""
        of = recipe.d_sae, recipe.batch_size, recipe.dtype, recipe.init
        if of not in self._trials and self._session.opened:
            self.run_worker(partial(self._try_out, recipe, of), group="trial", exclusive=True)
        return self._trials.get(of)

    async def _try_out(self, recipe: SplitRecipe, of: tuple[object, ...]) -> None:
        await asyncio.sleep(TYPING_S)
        try:
            self._trials[of] = await self._session.trial(recipe)
        except UserError:  # there is no guess then
            self._trials[of] = None
        if self.is_running:
            self.summarise()

    async def _ask_machine(self) -> None:
        """Whether runs outlive this login, and how much disk there is: systemd, and a file system that is far
        away, may take their time."""
        self._survival = await asyncio.to_thread(survives_logout) or "goes on when you log out"
        with suppress(OSError):
            self._free = await asyncio.to_thread(free_space)
        self.summarise()

    def watch_everything(self) -> None:
        self.show_fields()

    def show_fields(self) -> None:
        for row in self._fields:
            row.display = self.everything or row.field.name in ESSENTIAL[self._kind] or not row.check()
        shown = {str(row.field.metadata["group"]) for row in self._fields if row.display}
        for title in self.query(".group"):
            title.display = (title.id or "").removeprefix("group-") in shown

    def recipe(self) -> Recipe | str:
        """The recipe as it stands, or why it is none; a field that is wrong says more beneath itself."""
        right = [row.check() for row in self._fields]
        if not all(right):
            return "a value is wrong: see above"
        try:
            recipe = self._kind.from_dict({row.field.name: row.value() for row in self._fields})
            if (narrow_features := self._session.narrow_features) is not None:
                check_fits(recipe, narrow_features)
        except UsageError as error:  # values that are right one by one, but not together, or not for this SAE
            return str(error)
        return recipe

    def summarise(self) -> None:
        recipe = self.recipe()
        self.call_after_refresh(self.query_one(Fields).show_focused)
        cost, command = self.query_one("#cost", Static), self.query_one("#command", Static)
        if isinstance(recipe, str):
            command.update("")
            cost.update(recipe)
            return
        lines = [costs(recipe)]
        if isinstance(recipe, SplitRecipe) and (text := text_line(recipe, self._kept)):
            lines.append(text)
        if filters(recipe):
            self._ask_kept(recipe)
            lines.append(kept_line(recipe, self._kept, self._kept_above))
        if isinstance(recipe, SplitRecipe) and (time := time_line(recipe, self._time_by(recipe), self._kept)):
            lines.append(time)
        if isinstance(recipe, SplitRecipe) and self._session.opened and self._free:
            lines += machine_lines(recipe, self._session.opened.d_in, self._session.opened.device, self._free)
        if self._survival:
            lines.append(self._survival)
        cost.update("\n".join(lines))
        command.update(shell_command(self._session.setup, recipe, self._defaults))

    def on_resize(self) -> None:
        self.on_below_resized()

    def on_below_resized(self) -> None:
        """The fields have the room that the lines below leave them, some in any case."""
        borders, below = 2, self.query_one(Below).outer_size.height
        self.query_one(Fields).styles.max_height = max(LEAST_FIELDS, self.size.height - borders - below)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The help of the field in hand in full: its row may have had to cut it."""
        row = event.widget.parent.parent if event.widget.parent else None
        if isinstance(row, RecipeField):
            self.query_one("#field-help", Static).update(str(row.field.metadata["help"]))

    def on_input_changed(self) -> None:
        self.summarise()

    def on_choice_changed(self) -> None:
        self.summarise()

    def on_key(self, event: events.Key) -> None:
        if event.key in ("down", "up"):
            event.stop()
            (self.focus_next if event.key == "down" else self.focus_previous)(".control")

    def on_input_submitted(self) -> None:
        self.action_launch()

    def action_launch(self) -> None:
        if not isinstance(recipe := self.recipe(), str):
            self.dismiss(recipe)
            return
        for row in self._fields:
            if not row.check():
                row.display = True
                row.control.focus()
                return

    def action_all_fields(self) -> None:
        self.everything = not self.everything

    async def action_copy_command(self) -> None:
        if not isinstance(recipe := self.recipe(), str):
            from saetui.tui.clipboard import copy

            self.notify(await copy(self.app, shell_command(self._session.setup, recipe, self._defaults)))

    def action_close_launch(self) -> None:
        self.dismiss(None)
