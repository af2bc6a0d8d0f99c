"""``python -m saetui.worlds``: make the models that ship."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch

from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from saetui.lm import checked
from saetui.lm.one_layer import compatibility_form
from saetui.settings import cache_root
from saetui.worlds import real, saes, synthetic
from saetui.worlds.recipes import REAL, REAL_LM, SYNTHETIC, SYNTHETIC_LM
from saetui.worlds.train_lm import checkpointed

log = logging.getLogger(__name__)

MODELS = Path(__file__).parents[2] / "models"
WORLDS = {
    "real": (real, REAL_LM, REAL),
    "synthetic": (synthetic, SYNTHETIC_LM, SYNTHETIC),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m saetui.worlds", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help in (
        ("build", "make everything of a world, from nothing"),
        ("lm", "train, or go on training, the language model of a world"),
        ("export", "write the last checkpoint of a training in the form that ships"),
        ("check", "hold the language model that is there against TransformerLens' hook, and record it"),
        ("saes", "make the SAEs and the card, with the language model that is there"),
    ):
        command = commands.add_parser(name, help=help)
        command.add_argument("world", choices=WORLDS)
        command.add_argument("--folder", type=Path, help="where checkpoint and log of the training are")
        if name == "lm":
            command.add_argument("--tokens", type=int, help="train for so many, not the recipe's tokens")
    commands.add_parser("tokenizer", help="learn the real world's tokenizer")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        run(arguments)
    except UserError as error:
        log.error(error)
        return error.exit_code
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Carry out one command."""
    if arguments.command == "tokenizer":
        real.learn_tokenizer(MODELS / "real" / "lm")
        return
    models = MODELS / arguments.world
    lm = models / "lm"
    folder = arguments.folder or cache_root() / "worlds" / arguments.world
    world, recipe, sae_recipe = WORLDS[arguments.world]
    torch.set_num_threads(recipe.threads)
    if arguments.command == "build" and arguments.world == "real":
        real.learn_tokenizer(lm)
    if arguments.command == "lm" and arguments.tokens is not None:
        recipe = replace(recipe, tokens=arguments.tokens)
    if arguments.command in ("build", "lm"):
        world.train(recipe, lm, folder)
    if arguments.command in ("build", "export"):
        model, tokens = checkpointed(folder)
        compatibility_form(model).save(lm)
        log.info("%s: after %s tokens", lm, f"{tokens:,}")
    if arguments.command in ("build", "export", "check"):
        found = checked.record(lm, arguments.world)
        log.info(
            "%s: off by %.1e from TransformerLens %s at %s",
            lm, found.difference, found.transformer_lens, found.hook_name,
        )  # fmt: skip
    if arguments.command in ("build", "saes"):
        train_rows, held_out = world.rows(Tokenizer.from_file(lm / "tokenizer.json"))
        saes.build(arguments.world, recipe, sae_recipe, models, train_rows, held_out)


if __name__ == "__main__":
    sys.exit(main())
