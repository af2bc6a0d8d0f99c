"""The census's recipe where nobody says otherwise. Without torch."""

from saetui.census.results import CensusRecipe
from saetui.setup import Setup
from saetui.split.defaults import world_values
from saetui.split.recipe import GraftRecipe


def census_recipe(setup: Setup, tokens: int = CensusRecipe.tokens) -> CensusRecipe:
    """With the L1 coefficient that a graft in this setup has: it depends on how large activations are."""
    l1_coeff = world_values(GraftRecipe, setup).get("l1_coeff", CensusRecipe.l1_coeff)
    return CensusRecipe(tokens=tokens, l1_coeff=l1_coeff)
