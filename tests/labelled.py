"""The synthetic world as the tests take it: its files, its model, SAEs fitted to its labels."""

from functools import cache

from saetui.embedded import models_folder
from saetui.lm.base import LanguageModel
from saetui.sae.sae import SAE
from saetui.worlds.fitted import ADJ, COUNT, DIGIT, OTHER, Classes, contexts_of, fit, fitted_target, the_world
from saetui.worlds.fitted import EACH as HYPHEN

__all__ = ["ADJ", "COUNT", "DIGIT", "HYPHEN", "OTHER", "SPLIT", "Classes", "fitted", "narrow", "synthetic_lm"]

LM_FOLDER = models_folder() / "synthetic" / "lm"
CRITERIA_FILE = models_folder() / "synthetic" / "criteria.toml"
SPLIT: tuple[Classes, ...] = ((COUNT,), (ADJ,), (DIGIT,), (OTHER,))
"""The features of a true split."""


def synthetic_lm() -> LanguageModel:
    return the_world().lm


@cache
def fitted(*features: Classes, directions: tuple[Classes, ...] = ()) -> SAE:
    """An SAE whose feature i fires on the hyphens of the classes ``features[i]``, and writes the mean of
    those of ``directions[i]`` (the same classes, where not given)."""
    return fit(*contexts_of(*features), writes=contexts_of(*directions))


@cache
def narrow() -> SAE:
    """One feature: the hyphen."""
    return fitted_target()
