"""What a recipe and a split report's limits are where nobody says otherwise, and whether a recipe fits its
narrow SAE."""

from collections.abc import Mapping
from typing import Any

from saetui import embedded
from saetui.errors import UsageError
from saetui.settings import load_settings, settings_path
from saetui.setup import Setup
from saetui.split.finding.report import SplitThresholds
from saetui.split.recipe import GraftRecipe, SplitRecipe


def world_values(kind: type[SplitRecipe] | type[GraftRecipe], setup: Setup) -> dict[str, Any]:
    """What the embedded world has other than the recipe's own defaults; nothing for other models, or for
    another narrow SAE, whose features are other ones."""
    if setup.model not in embedded.WORLDS or setup.sae:
        return {}
    world = embedded.world(setup.model)
    table = world.split if kind is SplitRecipe else world.graft
    return {"target": world.target, "threshold": world.threshold, **table}


def needs_narrow(recipe: SplitRecipe) -> bool:
    """Whether a run of the recipe reads the narrow SAE at all."""
    return recipe.init != "random" or recipe.data == "filtered" or recipe.loss != "standard"


def check_narrow_feature(narrow_features: int, target: int) -> None:
    """UsageError for a target that a narrow SAE of so many features does not have."""
    if not 0 <= target < narrow_features:
        raise UsageError(
            f"no feature {target}: the narrow SAE has {narrow_features}, 0 to {narrow_features - 1}"
        )


def check_fits(recipe: SplitRecipe | GraftRecipe, narrow_features: int) -> None:
    """UsageError where a recipe is none for a narrow SAE of so many features."""
    check_narrow_feature(narrow_features, recipe.target)
    if isinstance(recipe, SplitRecipe) and recipe.init != "random" and recipe.d_sae < narrow_features:
        raise UsageError(
            f"d_sae is {recipe.d_sae}, but the narrow SAE already has {narrow_features} features: "
            f"choose at least {narrow_features}, or --init random"
        )


def fitted_recipe(setup: Setup, values: dict[str, Any], narrow_features: int) -> SplitRecipe:
    """``values`` over the embedded world's, ``d_sae`` being 8 times the narrow SAE's where neither says.

    UsageError for what is unknown or out of range, and where the recipe does not fit the narrow SAE.
    """
    recipe = SplitRecipe.from_dict({"d_sae": 8 * narrow_features} | world_values(SplitRecipe, setup) | values)
    check_fits(recipe, narrow_features)
    return recipe


def split_limits(over: Mapping[str, Any] | None = None) -> SplitThresholds:
    """The limits of a split report: ``over`` the settings file's ``[limits]`` over the defaults. UsageError
    for a name that is not known or a value out of range."""
    SplitThresholds.from_dict(over or {}, "limits")
    return SplitThresholds.from_dict(
        load_settings().limits | dict(over or {}), f"{settings_path()}: [limits]"
    )
