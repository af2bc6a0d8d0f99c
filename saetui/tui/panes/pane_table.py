"""Tables inside panes: short, so without the filter, whose key goes to a feature everywhere here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType

from saetui.tui.widgets.table import Column, Table
from saetui.visible import visible

if TYPE_CHECKING:
    from saetui.features.results import FeatureActivation, TokenLogit


def without(bindings: Sequence[BindingType], *actions: str) -> list[BindingType]:
    """``bindings`` but those of ``actions``, for a subclass that gives the keys away."""
    return [
        binding
        for binding in bindings
        if not (isinstance(binding, Binding) and binding.action.partition("(")[0] in actions)
    ]


class PaneTable(Table[Any], inherit_bindings=False):
    BINDINGS: ClassVar[list[BindingType]] = without(Table.BINDINGS, "filter", "sort", "reverse")


def feature_table(id: str, name: str) -> PaneTable:
    """Features with their activations, strongest first; an export calls them ``name``."""

    def number(row: FeatureActivation) -> str:
        return str(row.feature)

    def activation(row: FeatureActivation) -> str:
        return f"{row.activation:.2f}"

    columns = [Column("feature", number, 7, right=True), Column("activation", activation, 10, right=True)]
    return PaneTable(columns, key=lambda row: row.feature, empty="", id=id, name=name)


def logit_table(id: str) -> PaneTable:
    """Tokens with their logits."""

    def token(row: TokenLogit) -> str:
        return visible(row.token, dots=True)

    def logit(row: TokenLogit) -> str:
        return f"{row.logit:+.2f}"

    columns = [Column(id, token, 3, grow=True), Column("logit", logit, 5, right=True)]
    return PaneTable(columns, key=lambda row: row.token, empty="", id=id)
