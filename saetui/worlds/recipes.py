"""The recipes of the worlds that ship. Everything that decides their weights is a constant here."""

from dataclasses import dataclass
from typing import Any

from saetui.corpus.grammar import grammar
from saetui.lm.one_layer import OneLayerConfig
from saetui.split.recipe import SplitRecipe


@dataclass(frozen=True)
class LMRecipe:
    """How one language model is trained; ``tokens`` counts predicted tokens, repeats included."""

    name: str
    model: OneLayerConfig
    tokens: int
    batch_rows: int
    muon_lr: float
    """Of the hidden matrices, in AdamW's scale (updates are matched to AdamW's RMS)."""
    adam_lr: float
    """Of everything else: embeddings, unembedding, norms and biases."""
    weight_decay: float = 0.1
    warmup_steps: int = 200
    decay_share: float = 0.25
    """The last share of the steps, over which the learning rates fall linearly to zero."""
    clip: float = 1.0
    seed: int = 0
    threads: int = 2
    """Fixed, because their number decides the order in which sums are taken, and so the last bits."""

    @property
    def steps(self) -> int:
        return self.tokens // (self.batch_rows * self.model.n_ctx)

    @property
    def decay_start(self) -> int:
        """The first step of the decay: up to here the training does not depend on ``tokens``."""
        return self.steps - round(self.decay_share * self.steps)


REAL_LM = LMRecipe(
    name="real",
    model=OneLayerConfig(d_model=256, n_heads=8, d_head=32, d_mlp=1024, n_ctx=64, d_vocab=4096),
    tokens=39_321_600,
    batch_rows=80,
    muon_lr=4e-3,
    adam_lr=4e-3,
)

SYNTHETIC_LM = LMRecipe(
    name="synthetic",
    model=OneLayerConfig(
        d_model=64, n_heads=4, d_head=16, d_mlp=256, n_ctx=48, d_vocab=len(grammar().vocabulary)
    ),
    tokens=2_000_000,
    batch_rows=64,
    muon_lr=4e-3,
    adam_lr=4e-3,
    warmup_steps=100,
    threads=1,
)

TOKENIZER_CHARACTERS = 10_000_000
"""The real world's vocabulary is learnt from so many characters from the beginning of its corpus."""


@dataclass(frozen=True)
class WorldRecipe:
    """What ships of a world beside its language model, and how it is made and measured.

    The target is not written down: it is the narrow SAE's feature that covers the hyphen best. Nor is it a
    matter of course that one does: in some narrow SAEs several features share the hyphen. So seeds are tried
    from ``narrow.seed`` on until one's target has an AUC of ``covered``, at most ``narrow_seeds`` of them
    (then the best counts). Activations are not rescaled anywhere: the L1 coefficients are for the models'
    own.
    """

    title: str
    prompts: tuple[str, ...]
    narrow: SplitRecipe
    narrow_seeds: int
    covered: float
    threshold: float
    """Above this the target counts as firing: between its values on the hyphen and those off it."""
    split: dict[str, Any]
    """What the world's wide runs have other than the general defaults."""
    graft: dict[str, Any]
    split_all: dict[str, Any]
    """What the reference without a filter has other than ``split``."""
    measured_tokens: int
    """Held-out tokens that the card's numbers come from."""


SYNTHETIC = WorldRecipe(
    title="synthetic: sentences of a grammar, every hyphen labelled",
    prompts=(
        "It was a multi-part plan",
        "It was a long-term plan",
        "It was a 3-day plan",
        "It was a self-made plan",
    ),
    narrow=SplitRecipe(
        d_sae=64, seed=0, init="random", data="all", tokens=819_200, batch_size=2048, lr=2e-3,
        l1_coeff=5.0, l1_warmup=0.1,
    ),
    narrow_seeds=8,
    covered=0.9,
    threshold=2.5,
    split={
        "d_sae": 256, "granularity": "row", "loss": "target_zeroed", "new_rows_scale": 1.0,
        "tokens": 614_400, "batch_size": 2048, "lr": 2e-3, "l1_coeff": 5.0,
        "buffer_tokens": 65_536, "buffer_passes": 3, "eval_every": 200_000, "checkpoint_every": 400_000,
    },
    graft={"children": 6, "l1_coeff": 5.0},
    split_all={"init": "random", "data": "all", "loss": "standard"},
    measured_tokens=94_000,
)  # fmt: skip

REAL = WorldRecipe(
    title="real text: documentation and source of the Python packages on this machine",
    prompts=(
        "It provides a low-level interface",
        "It is a multi-line string",
        "It returns a 3-tuple of values",
        "It is a user-defined function",
    ),
    narrow=SplitRecipe(
        d_sae=256, seed=1, init="random", data="all", tokens=4_096_000, batch_size=2048, lr=1e-3,
        l1_coeff=4.0, l1_warmup=0.2, buffer_passes=4,
    ),
    narrow_seeds=8,
    covered=0.9,
    threshold=1.5,
    split={
        "d_sae": 1024, "granularity": "mixed", "loss": "target_zeroed",
        "tokens": 819_200, "batch_size": 1024, "lr": 2e-3, "lr_warmup_steps": 20, "l1_coeff": 3.0,
        "buffer_tokens": 65_536, "buffer_passes": 4, "eval_every": 200_000, "checkpoint_every": 400_000,
    },
    graft={"children": 64, "l1_coeff": 3.0},
    split_all={"init": "random", "data": "all", "loss": "standard"},
    measured_tokens=400_000,
)  # fmt: skip
