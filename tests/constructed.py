"""A language model whose activations are known by construction, over the synthetic world's real rows.

The class of a hyphen there is a function of the token before it, so activations can be written down:
on a hyphen of class c, ``4 * hyphen + strength * c`` in an orthonormal basis; on any other token a
direction of its own. SAEs are then built by hand, and every number of the judge has a right answer.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from saetui.corpus.grammar import LABELS, SyntheticRows, grammar
from saetui.corpus.tokenizer import Tokenizer
from saetui.lm.base import AtHook
from saetui.sae.sae import SAE

HYPHEN, COUNT, ADJ, DIGIT, OTHER, WORD = range(6)
"""The basis: index of each direction in the activations; WORD is where all other tokens lie."""
D_IN = 6
CLASSES = {"count": COUNT, "adj": ADJ, "digit": DIGIT, "other": OTHER}

LOGIT_WORDS = {
    COUNT: ("part", "level", "story", "way"),
    ADJ: ("term", "lasting", "range", "quality"),
    DIGIT: ("day", "year", "mile", "page"),
}
"""What each class direction boosts, most first."""


@cache
def class_of_previous() -> Tensor:
    """For every token id the direction of a hyphen that follows it, read off the labelled rows."""
    rows = SyntheticRows("train")
    tokens, labels = rows.read(0, 2000).astype(np.int64), rows.labels(0, 2000)
    directions = torch.full((len(grammar().vocabulary),), OTHER)
    row, position = np.nonzero(labels >= 0)
    for before, label in zip(tokens[row, position - 1], labels[row, position], strict=True):
        directions[before] = CLASSES[LABELS[label]]
    return directions


class ConstructedLM:
    """Implements ``LanguageModel`` with the activations above; ``W_U`` boosts ``LOGIT_WORDS``."""

    name = "constructed"
    hook_name = "blocks.0.hook_mlp_out"
    fingerprint = "constructed"
    d_in = D_IN
    n_ctx = 48
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.tokenizer: Tokenizer = grammar().tokenizer()
        hyphen = self.tokenizer.token_id("-")
        assert hyphen is not None
        self.hyphen = hyphen
        self.W_U = torch.zeros(D_IN, self.tokenizer.d_vocab)
        for direction, words in LOGIT_WORDS.items():
            for rank, word in enumerate(words):
                self.W_U[direction, grammar().vocabulary.index(word)] = 4.0 - 0.5 * rank

    def activations(self, tokens: Tensor) -> Tensor:
        x = torch.zeros(*tokens.shape, D_IN)
        x[..., WORD] = 4.0
        before = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], dim=1)
        at = tokens == self.hyphen
        x[at] = 0.0
        x[..., HYPHEN][at] = 4.0
        # A little stronger for some words than for others, so that top tokens have an order.
        strength = 4.0 + (before[at] % 7) / 100
        rows = x[at]
        rows[torch.arange(len(rows)), class_of_previous()[before[at]]] = strength
        x[at] = rows
        return x

    def at_hook(self, tokens: Tensor) -> AtHook:
        raise NotImplementedError


def sae_of(*features: dict[int, float], decoder: tuple[dict[int, float], ...] = (), bias: float = 0.0) -> SAE:
    """An SAE whose feature i reads the direction ``features[i]`` and writes ``decoder[i]`` (the same,
    normalised, where none is given)."""
    read = torch.zeros(D_IN, len(features))
    write = torch.zeros(len(features), D_IN)
    for i, weights in enumerate(features):
        for direction, weight in weights.items():
            read[direction, i] = weight
        for direction, weight in (decoder[i] if i < len(decoder) else weights).items():
            write[i, direction] = weight
    write = write / write.norm(dim=1, keepdim=True)
    return SAE(read, torch.full((len(features),), bias), write, torch.zeros(D_IN))
