"""The threshold of a target for which nobody gave one: the workbench's rule, for the shell."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from saetui.commands.output import say
from saetui.commands.reading import Reading
from saetui.setup import Setup
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.split.threshold import has_own_threshold, threshold_of

if TYPE_CHECKING:
    from saetui.features.row_store import RowStore
    from saetui.sae.sae import SAE

LEAST_TOKENS = 65_536
"""Tokens on which the strongest activation is sought where no more of the corpus has been indexed."""

R = TypeVar("R", SplitRecipe, GraftRecipe)


def lacks_threshold(setup: Setup, recipe: SplitRecipe | GraftRecipe, chosen: Mapping[str, Any]) -> bool:
    """Whether neither the values ``chosen`` nor the embedded world say the threshold of the target."""
    return "threshold" not in chosen and not has_own_threshold(setup, recipe.target)


def with_threshold(recipe: R, narrow: "SAE", store: "RowStore") -> R:
    """``recipe`` with the threshold that its target has where nobody says. The strongest activation is the
    feature index's, which goes on where it was left."""
    from saetui.features.index import FeatureIndex

    index = FeatureIndex(store, narrow)
    try:
        index.build(LEAST_TOKENS, reading := Reading())
        reading.end()
        strongest = float(index.statistics.max_activation[recipe.target])
    finally:
        index.close()
    found = replace(recipe, threshold=threshold_of(strongest))
    say(
        f"threshold {found.threshold:g}: a fifth of the strongest activation of feature {recipe.target} on "
        f"{index.tokens_read:,} tokens ({strongest:.2f})"
    )
    return found
