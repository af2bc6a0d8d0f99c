"""The prompt pane: what each token of a prompt activates, in one SAE or in two side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static

from saetui.errors import UserError
from saetui.tui.panes.pane import Pane
from saetui.tui.panes.pane_table import PaneTable, feature_table, without
from saetui.tui.selection import Selected
from saetui.tui.session import Session
from saetui.tui.shell_words import command
from saetui.tui.widgets.prompt_strip import PromptStrip
from saetui.visible import visible

if TYPE_CHECKING:
    from saetui.features.results import PromptProbe, TokenProbe


STAY_S = 0.15
"""Seconds on one token or feature after which the other panes follow."""


class TokenStrip(PromptStrip, inherit_bindings=False):
    """Left and right walk the tokens; up and down are left to the pane, for the features beneath."""

    BINDINGS: ClassVar[list[BindingType]] = without(PromptStrip.BINDINGS, "line")


class PromptPane(Pane):
    """Left and right walk the tokens, up and down the features of the token; the panes beside it follow, and
    enter selects one for good."""

    NUMBER = 1
    TITLE = "prompt"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "row(-1)", "Up", show=False),
        Binding("down,j", "row(1)", "Down", show=False),
        Binding("enter", "choose", "Select", show=False),
    ]

    class Probed(Message):
        """A prompt was probed, so it is worth remembering, and whether in one SAE or in two."""

    def __init__(self, session: Session, prompt: str, beside: bool, leading: bool = True) -> None:
        super().__init__(session)
        self.prompt = prompt
        self.beside = beside
        self.leading = leading
        """Whether the other panes follow the walk over tokens and features."""
        self._walk: Timer | None = None
        self._probes: list[PromptProbe] = []

    def compose_content(self) -> ComposeResult:
        yield Input(self.prompt, placeholder="a prompt; enter probes it", compact=True, select_on_focus=False)
        yield TokenStrip(empty="")
        with Horizontal():
            for name, exported in (("first", "features on the token"), ("second", "features beside it")):
                with Vertical(id=f"{name}-column"):
                    yield Static("", id=f"{name}-line", classes="token-line", markup=False)
                    yield feature_table(name, exported)

    def on_mount(self) -> None:
        self.query_one("#second-column").display = self.beside
        super().on_mount()

    @property
    def main(self) -> Widget:
        return self.query_one(TokenStrip)

    def edit(self) -> None:
        self.query_one(Input).focus()

    def toggle_beside(self) -> None:
        """Has a second SAE stand beside the first, which may have to be opened, or takes it away."""
        self.run_worker(self._toggle_beside(), group="beside", exclusive=True)

    async def _toggle_beside(self) -> None:
        if not self.beside and self.selected is not None:
            try:
                with self.asking():
                    await self.session.counterpart(self.selected.sae)
            except UserError as error:
                self.notify(str(error), severity="warning")
                return
        self.beside = not self.beside
        self.query_one("#second-column").display = self.beside
        self.reload()

    def cancel(self) -> bool:
        self.workers.cancel_group(self, "beside")
        return super().cancel()

    async def load(self, selected: Selected) -> None:
        prompt, saes = self.prompt, [selected.sae]
        if self.beside:
            saes.append(await self.session.counterpart(selected.sae))
        self._probes = [
            await self.session.probe(prompt, sae, [selected.feature] if sae == selected.sae else [])
            for sae in saes
        ]
        self.query_one(TokenStrip).show(self._probes[0], selected.feature)
        self._show_features()
        self.post_message(self.Probed())

    def on_prompt_strip_token_highlighted(self, message: PromptStrip.TokenHighlighted) -> None:
        self._show_features()
        if message.moved:
            self._lead()

    def follow(self, selected: Selected | None) -> None:
        self._stay()  # a feature that was chosen meanwhile is not walked away from
        super().follow(selected)

    def _lead(self) -> None:
        """Takes the other panes along, once the person stays where they are for a moment."""
        self._stay()
        if self.leading:
            self._walk = self.set_timer(STAY_S, self._arrive)

    def _stay(self) -> None:
        if self._walk is not None:
            self._walk.stop()

    def _arrive(self) -> None:
        here = self.query_one("#first", PaneTable).highlighted
        if here is not None and self._probes:
            self.post_message(self.FeatureChosen(Selected(self._probes[0].sae, here.feature), passing=True))

    def _show_features(self) -> None:
        at = self.query_one(TokenStrip).cursor
        for probe, name in zip(self._probes, ("first", "second"), strict=False):
            token = probe.tokens[at]
            table = self.query_one(f"#{name}", PaneTable)
            table.empty = "no feature fires here"
            table.fill(token.top)
            if self.selected is not None and name == "first":
                table.select_key(self.selected.feature)
            on = f" on {visible(token.text, dots=True)!r}" if name == "first" else ""
            self.query_one(f"#{name}-line", Static).update(
                f"{self.session.title(probe.sae)}{on}{standing(token)}"
            )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value:  # the next keys are still meant for the prompt
            self.notify("a prompt needs a character at least", severity="warning")
            return
        self.prompt = event.value
        self.reload()
        self.focus_main()

    def action_row(self, by: int) -> None:
        self.query_one("#first", PaneTable).action_move(by)
        self._lead()

    def action_choose(self) -> None:
        self._stay()
        self.query_one("#first", PaneTable).action_select()

    def on_table_selected(self, message: PaneTable.Selected) -> None:
        message.stop()
        probe = self._probes[0 if message.table.id == "first" else 1]
        self.post_message(self.FeatureChosen(Selected(probe.sae, message.row.feature)))

    def twins(self, feature: int, encoder: list[str]) -> list[str]:
        return [command("probe", self.prompt, "--top", 12, "--follow", feature, *encoder)]

    def as_text(self) -> str:
        lines: list[str] = []
        for probe in self._probes:
            lines.append(f"{self.session.title(probe.sae)}: {probe.prompt}")
            for token in probe.tokens:
                top = (f"{f.feature}:{f.activation:.3f}" for f in token.top)
                lines.append("\t".join([visible(token.text), *top]))
        return "\n".join(lines)


def standing(token: TokenProbe) -> str:
    """How far the strongest feature stands from the second, and how many fire at all."""
    return "" if token.margin is None else f" · margin {token.margin:.2f} · L0 {token.l0}"
