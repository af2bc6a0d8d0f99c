"""A study over the first features of a list: does what was expected of them come true?"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from saetui import settings
from saetui.setup import Setup
from saetui.tui.screens.launch import Choice
from saetui.tui.shell_words import setup_words

METHODS = ("graft", "wide")


@dataclass(frozen=True)
class TopStudy:
    """``order``: of what list they are the first. The thresholds are measured when it is planned."""

    name: str
    model: str
    order: str
    features: tuple[int, ...]
    method: str
    seeds: int

    @property
    def path(self) -> Path:
        return settings.state_root() / "studies" / f"{self.name}.toml"

    @property
    def text(self) -> str:
        """The study's file."""
        title = (
            f"the first {len(self.features)} features by the {self.order} of {self.model}, by {self.method}"
        )
        targets = "\n".join(f"[[target]]\ntarget = {feature}" for feature in self.features)
        seeds = ", ".join(str(seed) for seed in range(1, self.seeds + 1))
        return f'title = "{title}"\nmethod = "{self.method}"\n\n[axes]\nseed = [{seeds}]\n\n{targets}\n'


def run_words(study: TopStudy, setup: Setup) -> list[str]:
    """What ``saetui study run`` takes to carry it out."""
    return [str(study.path), "--name", study.name, *setup_words(setup)]


def write_study(study: TopStudy) -> Path:
    """Writes the file where the workbench keeps its own; an earlier one of that name goes. OSError."""
    study.path.parent.mkdir(parents=True, exist_ok=True)
    study.path.write_text(study.text, encoding="utf-8")
    return study.path


class TopStudyScreen(ModalScreen[TopStudy | None]):
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "dismiss(None)", "Back"),
        Binding("f2", "copy_command", "Copy command"),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]
    DEFAULT_CSS = """
    TopStudyScreen { align: center middle; }
    TopStudyScreen > Vertical {
        width: 80%; min-width: 70; max-width: 100; height: auto; padding: 0 1;
        border: round $primary; background: $surface;
    }
    TopStudyScreen Horizontal { height: 1; }
    TopStudyScreen .name { width: 12; }
    TopStudyScreen .control { width: 12; }
    TopStudyScreen .help { width: 1fr; color: $text-muted; }
    TopStudyScreen .control:focus { background: $primary 40%; text-style: bold; }
    TopStudyScreen #sum { height: auto; margin-top: 1; }
    TopStudyScreen #command { height: auto; color: $text-muted; }
    """

    def __init__(self, setup: Setup, features: Sequence[int], order: str) -> None:
        super().__init__()
        self._setup, self._features, self._order = setup, list(features), order

    def compose(self) -> ComposeResult:
        first = min(10, len(self._features))
        with Vertical() as box:
            box.border_title = "A study of the first features"
            box.border_subtitle = "enter launches · F2 copy command · esc back"
            yield self._field(
                "first",
                Input(str(first), compact=True, id="first", classes="control"),
                f"of the {len(self._features)} in the list as it is sorted and filtered",
            )
            yield self._field(
                "method",
                Choice(METHODS, "graft", id="method", classes="control"),
                "graft: seconds a feature; wide: a whole SAE for each",
            )
            yield self._field(
                "seeds", Input("3", compact=True, id="seeds", classes="control"), "runs of each feature"
            )
            yield Static("", id="sum", markup=False)
            yield Static("", id="command", markup=False)  # fmt: skip

    @staticmethod
    def _field(name: str, control: Input | Choice, help: str) -> Horizontal:
        return Horizontal(Static(name, classes="name"), control, Static(help, classes="help", markup=False))

    def on_mount(self) -> None:
        self.query_one("#first").focus()
        self.summarise()

    def study(self) -> TopStudy | str:
        """As it stands, or what is wrong with it."""
        numbers: dict[str, int] = {}
        for name, most in (("first", len(self._features)), ("seeds", 99)):
            text = self.query_one(f"#{name}", Input).value.strip()
            if not text.isdecimal() or not 1 <= int(text) <= most:
                return f"{name}: a number from 1 to {most} is needed"
            numbers[name] = int(text)
        method, model = self.query_one("#method", Choice).value, Path(self._setup.model).name
        name = f"{self._order}-{numbers['first']}-{method}-{model}"
        features = tuple(self._features[: numbers["first"]])
        return TopStudy(name, model, self._order, features, method, numbers["seeds"])

    def summarise(self) -> None:
        study = self.study()
        if isinstance(study, str):
            said, command = study, ""
        else:
            said = f"{len(study.features) * study.seeds} runs: features {', '.join(map(str, study.features))}"
            command = self._command(study)
        self.query_one("#sum", Static).update(said)
        self.query_one("#command", Static).update(command)

    def _command(self, study: TopStudy) -> str:
        return shlex.join(["saetui", "study", "run", *run_words(study, self._setup)])

    def on_input_changed(self) -> None:
        self.summarise()

    def on_choice_changed(self) -> None:
        self.summarise()

    def on_input_submitted(self) -> None:
        self._launch()

    def on_key(self, event: events.Key) -> None:
        if event.key == "enter" and isinstance(self.focused, Choice):
            self._launch()

    def _launch(self) -> None:
        if isinstance(study := self.study(), TopStudy):
            self.dismiss(study)

    async def action_copy_command(self) -> None:
        """The file is written too: the command is about it."""
        from saetui.tui.clipboard import copy

        if isinstance(study := self.study(), TopStudy):
            try:
                await asyncio.to_thread(write_study, study)
            except OSError as error:
                self.notify(f"{study.path} was not written: {error.strerror}", severity="error")
                return
            self.notify(await copy(self.app, self._command(study)))
