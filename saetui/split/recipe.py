"""The configuration of one run: the single source of the CLI flags, the launch form, the file on
disk and the run's manifest. Without torch."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args, get_type_hints

from saetui.errors import UsageError

Init = Literal["random", "narrow", "narrow_reset"]
Data = Literal["all", "filtered"]
Granularity = Literal["row", "token", "mixed"]
Loss = Literal["standard", "target_zeroed", "residual"]
Reduction = Literal["mean", "sum"]
DecoderNorm = Literal["unit", "free"]
Dtype = Literal["float32", "tf32", "bfloat16"]


def option(default: Any, help: str, group: str, **limits: float) -> Any:
    """A recipe field with what a flag and a form show of it. ``limits``: ``ge``, ``gt``, ``le``."""
    return field(default=default, metadata={"help": help, "group": group, **limits})


@dataclass(frozen=True)
class _Recipe:
    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """UsageError for an unknown name, a wrong type or a value out of its range."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(f"unknown recipe key {unknown[0]!r}: known are {', '.join(sorted(known))}")
        return cls(**values)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for f in fields(self):
            value, hint = getattr(self, f.name), hints[f.name]
            choices = get_args(hint) if getattr(hint, "__origin__", None) is Literal else ()
            if choices and value not in choices:
                raise UsageError(f"{f.name} is {value!r}: choose one of {', '.join(choices)}")
            if hint is bool and not isinstance(value, bool):
                raise UsageError(f"{f.name} is {value!r}: true or false is needed")
            if hint in (int, float) and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise UsageError(f"{f.name} is {value!r}: a number is needed")
            if hint is int and value != int(value):
                raise UsageError(f"{f.name} is {value!r}: a whole number is needed")
            for limit, holds, sign in (
                ("ge", lambda v, m: v >= m, "≥"),
                ("gt", lambda v, m: v > m, ">"),
                ("le", lambda v, m: v <= m, "≤"),
            ):
                if limit in f.metadata and not holds(value, f.metadata[limit]):
                    raise UsageError(f"{f.name} is {value}: it must be {sign} {f.metadata[limit]}")


@dataclass(frozen=True)
class SplitRecipe(_Recipe):
    """A wide split run: the seed's four axes, and how to train."""

    target: int = option(0, "feature of the narrow SAE to split", "target", ge=0)
    d_sae: int = option(4096, "features of the wide SAE", "target", gt=0)
    seed: int = option(0, "seed of initialisation and data order", "target", ge=0)
    # I
    init: Init = option(
        "narrow",
        "I: random (Kaiming uniform), narrow SAE's rows first, or those with the target's decoder row reset",
        "axes",
    )
    new_rows_scale: float = option(
        0.1, "scale of W_enc in the rows that the narrow SAE does not fill (1: plain Kaiming)", "axes", gt=0
    )
    # II
    normalize_init: bool = option(True, "II: decoder rows normalised at initialisation", "axes")
    # III
    data: Data = option(
        "filtered", "III: all data, or only data on which the target fires above the threshold", "axes"
    )
    granularity: Granularity = option(
        "row", "filter keeps whole rows, single tokens, or mixes filtered tokens into all data", "axes"
    )
    threshold: float = option(2.0, "the target counts as firing above this", "axes", ge=0)
    mixed_share: float = option(0.25, "share of filtered tokens in a mixed stream", "axes", gt=0, le=0.9)
    # IV
    loss: Loss = option(
        "standard",
        "IV: standard, the target's activation set to zero, or on what the narrow SAE less its target leaves",
        "axes",
    )
    tokens: int = option(26_200_000, "tokens to train on", "training", gt=0)
    batch_size: int = option(4096, "tokens in a step", "training", gt=0)
    lr: float = option(1e-4, "Adam's learning rate", "training", gt=0)
    lr_warmup_steps: int = option(50, "steps of linear learning-rate warm-up", "training", ge=0)
    lr_decay: float = option(
        0.3, "last share of the run over which the learning rate falls to 5 %", "training", ge=0, le=1
    )
    beta1: float = option(0.9, "Adam's beta 1", "training", ge=0, le=1)
    beta2: float = option(0.99, "Adam's beta 2", "training", ge=0, le=1)
    l1_coeff: float = option(1.2, "weight of the L1 term, in the reduction named below", "training", ge=0)
    l1_reduction: Reduction = option(
        "mean",
        "L1 averaged over the batch, or summed over it (then it depends on the batch size)",
        "training",
    )
    l1_warmup: float = option(
        0.4, "first share of the run over which L1 rises from zero", "training", ge=0, le=1
    )
    decoder_norm: DecoderNorm = option(
        "unit", "decoder rows kept at norm 1, or free (L1 then weighted by their norm)", "training"
    )
    resample_every: int = option(
        0, "tokens between resamplings of dead features (0: never)", "training", ge=0
    )
    dead_after: int = option(
        1_000_000, "a feature that has not fired for so many tokens is dead", "training", gt=0
    )
    buffer_tokens: int = option(131_072, "tokens in the shuffle buffer", "training", gt=0)
    buffer_passes: int = option(
        1,
        "times that each buffer is trained on before it is refilled (more: fewer forwards)",
        "training",
        gt=0,
    )
    eval_every: int = option(500_000, "tokens between evaluations on held-out rows", "cadence", gt=0)
    checkpoint_every: int = option(1_000_000, "tokens between checkpoints", "cadence", gt=0)
    dtype: Dtype = option(
        "float32",
        "dtype of the matrix products, the language model's too (master weights are float32; tf32: on a GPU)",
        "cadence",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "target_zeroed" and self.init == "random":
            raise UsageError(
                "loss target_zeroed needs init narrow: with random initialisation no feature of the wide SAE "
                "is the target"
            )
        if self.loss == "residual" and self.init != "random":
            raise UsageError(
                "loss residual needs init random: the narrow SAE without its target is part of the result "
                "as it is"
            )


@dataclass(frozen=True)
class GraftRecipe(_Recipe):
    """A graft: k children in the target's place, the narrow SAE frozen around them."""

    target: int = option(0, "feature of the narrow SAE to graft", "target", ge=0)
    children: int = option(
        32, "children in the target's place: 8–16 give families, 64 single words", "target", gt=0
    )
    seed: int = option(0, "seed of initialisation and sampling", "target", ge=0)
    threshold: float = option(2.0, "the target counts as firing above this", "target", ge=0)
    hot_tokens: int = option(16_384, "tokens on which the target fires, at most", "training", gt=0)
    scan_tokens: int = option(1_000_000, "tokens read in search of them, at most", "training", gt=0)
    steps: int = option(600, "optimiser steps", "training", gt=0)
    batch_size: int = option(512, "tokens in a step, drawn with replacement", "training", gt=0)
    lr: float = option(3e-3, "Adam's learning rate", "training", gt=0)
    l1_coeff: float = option(3.0, "weight of the children's L1 term (mean over the batch)", "training", ge=0)
    l1_warmup: float = option(
        0.3, "first share of the steps over which L1 rises from zero", "training", ge=0, le=1
    )
