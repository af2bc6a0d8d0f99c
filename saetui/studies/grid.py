"""From a study's file to its cells: every combination that the file asks for, made complete and checked."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from saetui.errors import UsageError, UserError
from saetui.setup import Setup
from saetui.split.defaults import fitted_recipe, world_values
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.split.threshold import has_own_threshold
from saetui.studies.cells import Cell
from saetui.studies.file import METHODS, MULTIPLE, SHARE, Combination, StudyFile, Values

if TYPE_CHECKING:
    from saetui.sae.sae import SAE

_CADENCES = ("eval_every", "checkpoint_every")


def expand(
    file: StudyFile,
    setup: Setup,
    given: Values,
    narrow: "SAE",
    threshold_of: Callable[[int], float] | None = None,
) -> list[Cell]:
    """The cells of ``file`` with a narrow SAE; ``given`` as in ``StudyFile.combinations``. ``threshold_of`` a
    target, where nobody says one for it; without it, the recipe's default.

    UsageError, naming file and cell, for a recipe that cannot be, and for two cells that are one.
    """
    cells: dict[str, Cell] = {}
    for combination in file.combinations(given):
        cell = _cell(file, setup, combination, narrow, threshold_of)
        if cell.id in cells:
            raise UsageError(f"{file.source}: two runs are {cell.id}: tell the rows or axes apart")
        cells[cell.id] = cell
    if not cells:
        raise UsageError(f"{file.source}: everything is excluded: there is no run left")
    return list(cells.values())


def _cell(
    file: StudyFile,
    setup: Setup,
    combination: Combination,
    narrow: "SAE",
    threshold_of: Callable[[int], float] | None,
) -> Cell:
    try:
        recipe = _recipe(file.method, setup, combination.values, narrow)
        if "threshold" not in combination.values and not has_own_threshold(setup, recipe.target):
            recipe = replace(recipe, threshold=threshold_of(recipe.target)) if threshold_of else recipe
    except UserError as error:
        raise UsageError(f"{file.source}: {combination.row}: {error}") from None
    row = re.sub(r"[^\w.+-]+", "-", combination.row)
    return Cell(
        f"{row}.f{recipe.target}.s{recipe.seed}", combination.row, combination.purpose, recipe.to_dict()
    )


def _recipe(method: str, setup: Setup, values: Values, narrow: "SAE") -> SplitRecipe | GraftRecipe:
    if METHODS[method][1] is SplitRecipe:
        if multiple := MULTIPLE.fullmatch(str(values.get("d_sae"))):
            values = {**values, "d_sae": int(multiple[1]) * narrow.d_sae}
        shares = {key: int(share[1]) for key in _CADENCES if (share := SHARE.fullmatch(str(values.get(key))))}
        recipe = fitted_recipe(setup, {k: v for k, v in values.items() if k not in shares}, narrow.d_sae)
        return replace(recipe, **{key: max(1, recipe.tokens * n // 100) for key, n in shares.items()})
    from saetui.split.training.loss import check_target

    recipe = GraftRecipe.from_dict(world_values(GraftRecipe, setup) | values)
    check_target(narrow, recipe.target)
    return recipe
