"""Command-line options made from a recipe's fields, and the recipe made from options, file and world."""

from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from saetui.errors import UsageError
from saetui.setup import Setup
from saetui.split.defaults import needs_narrow, world_values
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.toml_file import read_toml

R = TypeVar("R", SplitRecipe, GraftRecipe)


def recipe_options(recipe: type[SplitRecipe] | type[GraftRecipe]) -> Callable[..., Any]:
    """Adds one option per field, named after it, ``--recipe FILE``, and an argument that is short for
    ``--target``; the command gets ``recipe_file`` and ``given``, a dict of the fields that were named on the
    command line."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        names = [field.name for field in fields(recipe)]

        def with_given(*args: Any, feature: int | None, **kwargs: Any) -> Any:
            given = {name: value for name in names if (value := kwargs.pop(name)) is not None}
            if feature is not None and given.setdefault("target", feature) != feature:
                raise UsageError(f"two features to split, {feature} and --target {given['target']}: name one")
            return command(*args, given=given, **kwargs)

        with_given.__doc__ = command.__doc__
        with_given.__click_params__ = getattr(command, "__click_params__", [])  # pyright: ignore[reportFunctionMemberAccess]
        hints = get_type_hints(recipe)
        for field in reversed(fields(recipe)):
            with_given = _option(field, hints[field.name])(with_given)
        with_given = click.argument("feature", type=int, required=False)(with_given)
        return click.option(
            "--recipe",
            "recipe_file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="TOML file with recipe values; options given here override it",
        )(with_given)

    return decorate


def build_recipe(kind: type[R], setup: Setup, recipe_file: Path | None, given: dict[str, Any]) -> R:
    """The recipe: ``given`` over the file's values over the embedded world's over the recipe's own defaults.
    UsageError for what is unknown or out of range, for a file that cannot be read, and where nothing says
    which feature is to be split."""
    values = world_values(kind, setup) | chosen_values(recipe_file, given)
    recipe = kind.from_dict(values)
    if "target" not in values and (isinstance(recipe, GraftRecipe) or needs_narrow(recipe)):
        raise UsageError("which feature? Name the narrow SAE's feature to split, e.g. 240")
    return recipe


def chosen_values(recipe_file: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """What a person asked for: ``given`` over the file. UsageError where it cannot be read."""
    return (read_toml(recipe_file, "the recipe")[0] if recipe_file else {}) | given


def _option(field: Field[Any], hint: Any) -> Callable[..., Any]:
    flag = f"--{field.name.replace('_', '-')}"
    if hint is bool:
        shown = f"--{'' if field.default else 'no-'}{flag.removeprefix('--')}"
        return click.option(
            f"{flag}/--no-{flag.removeprefix('--')}",
            default=None,
            help=f"{field.metadata['help']}  [default: {shown}]",
        )
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    return click.option(
        flag,
        type=click.Choice(choices) if choices else hint,
        default=None,
        help=f"{field.metadata['help']}  [default: {field.default}]",
    )
