"""SAEs of the synthetic world's real language model, fitted to the labels by least squares: what each of
their features means is known."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from saetui.corpus.grammar import SyntheticRows
from saetui.corpus.tokenizer import Tokenizer
from saetui.embedded import models_folder
from saetui.lm.direct import DirectModel
from saetui.lm.one_layer import OneLayer
from saetui.sae.sae import SAE

LM_FOLDER = models_folder() / "synthetic" / "lm"
CRITERIA_FILE = models_folder() / "synthetic" / "criteria.toml"

COUNT, ADJ, DIGIT, OTHER = range(4)
HYPHEN = (COUNT, ADJ, DIGIT, OTHER)
Classes = tuple[int, ...]


@cache
def world() -> tuple[DirectModel, Tensor, Tensor]:
    """The language model, activations ``[n, d_in]`` of training tokens and their labels ``[n]``."""
    tokenizer = Tokenizer.from_file(LM_FOLDER / "tokenizer.json")
    lm = DirectModel(OneLayer.load(LM_FOLDER), tokenizer, "synthetic")
    rows = SyntheticRows("train")
    x = lm.activations(torch.from_numpy(rows.read(0, 1000).astype(np.int64)))[:, 1:].flatten(0, 1)
    return lm, x, torch.from_numpy(rows.labels(0, 1000))[:, 1:].flatten().long()


def fitted(*features: Classes, directions: tuple[Classes, ...] = ()) -> SAE:
    """An SAE whose feature i fires on the hyphens of the classes ``features[i]``, and writes the mean of
    those of ``directions[i]`` (the same classes, where not given)."""
    _, x, labels = world()
    directions = directions + features[len(directions) :]
    mean = x.mean(0)
    design = torch.cat([x - mean, torch.ones(len(x), 1)], 1).double()
    is_in = torch.stack([torch.isin(labels, torch.tensor(classes)) for classes in features], 1).double()
    weights = torch.linalg.lstsq(design, is_in).solution.float()
    rows = [x[torch.isin(labels, torch.tensor(classes))].mean(0) - mean for classes in directions]
    return SAE(
        W_enc=10 * weights[:-1],
        b_enc=10 * weights[-1] - 4,
        W_dec=torch.nn.functional.normalize(torch.stack(rows), dim=1),
        b_dec=mean,
    )


@cache
def narrow() -> SAE:
    """One feature: the hyphen."""
    return fitted(HYPHEN)


SPLIT: tuple[Classes, ...] = ((COUNT,), (ADJ,), (DIGIT,), (OTHER,))
"""The features of a true split."""
