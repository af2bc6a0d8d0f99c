"""Grafting: one feature split in place, in seconds, the rest of the narrow SAE frozen around it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from saetui.errors import UserError
from saetui.sae.sae import SAE, SAEMetadata
from saetui.split.recipe import GraftRecipe
from saetui.split.training.loss import check_target, without_target
from saetui.split.training.schedule import rising_share
from saetui.split.training.step import TrainStep

CONFIG, WEIGHTS = "config.json", "graft.safetensors"
FORMAT = "saetui-graft"


@dataclass(frozen=True)
class Graft:
    """A narrow SAE with ``k`` children in its target's place, where the target fires.

    With ``n`` features in the narrow SAE, target ``p`` and threshold ``τ``:

        gate(x)       = a_p(x) > τ
        children_j(x) = gate(x) · relu((x - b_dec) @ W_enc[:, j] + b_enc[j])          j = 0 … k-1
        f(x)          = narrow's features, the target's zero where gate(x), followed by the children
        x̂             = f[:n] @ narrow.W_dec + b_dec + f[n:] @ W_dec

    ``b_dec`` is the narrow SAE's. Where the gate is closed this is the narrow SAE bit for bit, and child
    ``j`` is feature ``n + j`` of ``n + k``. Children are ordered by share: of the hot tokens, the share on
    which a child is the strongest one.
    """

    narrow: SAE
    target: int
    threshold: float
    child_W_enc: Tensor
    """``[d_in, k]``"""
    child_b_enc: Tensor
    """``[k]``"""
    child_W_dec: Tensor
    """``[k, d_in]``, rows of norm 1."""

    @property
    def k(self) -> int:
        return self.child_b_enc.shape[0]

    @property
    def d_in(self) -> int:
        return self.narrow.d_in

    @property
    def d_sae(self) -> int:
        """Features of the whole: the narrow SAE's and the children."""
        return self.narrow.d_sae + self.k

    @property
    def device(self) -> torch.device:
        return self.narrow.device

    @property
    def metadata(self) -> SAEMetadata:
        return self.narrow.metadata

    @property
    def b_dec(self) -> Tensor:
        return self.narrow.b_dec

    @property
    def W_dec(self) -> Tensor:
        """Decoder rows of all features, ``[d_sae, d_in]``; the target's is the narrow SAE's."""
        return torch.cat([self.narrow.W_dec, self.child_W_dec])

    @property
    def children(self) -> range:
        """The children's indices among the features."""
        return range(self.narrow.d_sae, self.d_sae)

    def gate(self, x: Tensor) -> Tensor:
        """Whether the target fires above the threshold, ``[...]`` bool, on ``x [..., d_in]``."""
        return self.narrow.encode_feature(x, self.target) > self.threshold

    def children_encode(self, x: Tensor) -> Tensor:
        """The children's activations ``[..., k]`` on ``x [..., d_in]``."""
        f = torch.relu((x - self.b_dec) @ self.child_W_enc + self.child_b_enc)
        return f * self.gate(x).unsqueeze(-1)

    def encode(self, x: Tensor) -> Tensor:
        """Feature activations ``[..., d_sae]`` of ``x [..., d_in]``."""
        f = self.narrow.encode(x)
        f[..., self.target] = f[..., self.target].masked_fill(self.gate(x), 0)
        return torch.cat([f, self.children_encode(x)], -1)

    def decode(self, f: Tensor) -> Tensor:
        """Reconstructions ``[..., d_in]`` of feature activations ``[..., d_sae]``."""
        n = self.narrow.d_sae
        return self.narrow.decode(f[..., :n]) + f[..., n:] @ self.child_W_dec

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> "Graft":
        """A copy on another device or in another dtype."""
        return replace(
            self,
            narrow=self.narrow.to(device, dtype),
            child_W_enc=self.child_W_enc.to(device=device, dtype=dtype),
            child_b_enc=self.child_b_enc.to(device=device, dtype=dtype),
            child_W_dec=self.child_W_dec.to(device=device, dtype=dtype),
        )

    def save(self, folder: str | Path) -> None:
        """Writes a folder that needs nothing else to be loaded.

        ``graft.safetensors``, fp32: ``narrow.W_enc [d_in, n]``, ``narrow.b_enc``, ``narrow.W_dec``,
        ``narrow.b_dec``, for JumpReLU ``narrow.threshold``; ``children.W_enc [d_in, k]``,
        ``children.b_enc [k]``, ``children.W_dec [k, d_in]``. ``config.json``: ``format``, ``v``, ``target``,
        ``threshold``, ``d_in``, ``n``, ``k`` and, under ``narrow``, its activation and metadata. What they
        compute is in this class's description.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"narrow.{name}": value for name, value in _weights(self.narrow).items()}
        tensors |= {
            f"children.{name}": getattr(self, f"child_{name}") for name in ("W_enc", "b_enc", "W_dec")
        }
        config = {
            "format": FORMAT,
            "v": 1,
            "target": self.target,
            "threshold": self.threshold,
            "d_in": self.d_in,
            "n": self.narrow.d_sae,
            "k": self.k,
            "narrow": {
                "activation": self.narrow.activation,
                "k": self.narrow.k,
                "metadata": asdict(self.narrow.metadata),
            },
        }
        save_file(
            {n: t.detach().cpu().float().contiguous() for n, t in tensors.items()}, folder / f".{WEIGHTS}"
        )
        (folder / f".{WEIGHTS}").replace(folder / WEIGHTS)
        (folder / f".{CONFIG}").write_text(json.dumps(config, indent=1, default=str) + "\n", encoding="utf-8")
        (folder / f".{CONFIG}").replace(folder / CONFIG)  # last: a folder with a config is whole

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> "Graft":
        """Reads what ``save`` wrote. UserError where it is missing, damaged or something else."""
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            tensors = load_file(folder / WEIGHTS)
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(f"no graft in {folder}: {error}") from None
        if not isinstance(config, dict) or config.get("format") != FORMAT or config.get("v") != 1:
            raise UserError(f"{folder / CONFIG} is not a graft of format {FORMAT} 1")
        try:
            narrow = SAE(
                **{
                    name.removeprefix("narrow."): t
                    for name, t in tensors.items()
                    if name.startswith("narrow.")
                },
                activation=config["narrow"]["activation"],
                k=config["narrow"]["k"],
                metadata=SAEMetadata(**config["narrow"]["metadata"]),
            )
            graft = cls(
                narrow=narrow,
                target=config["target"],
                threshold=config["threshold"],
                child_W_enc=tensors["children.W_enc"],
                child_b_enc=tensors["children.b_enc"],
                child_W_dec=tensors["children.W_dec"],
            )
            declared = (config["d_in"], config["n"], config["k"])
        except (KeyError, TypeError) as error:
            raise UserError(f"the graft in {folder} is damaged: {error}") from None
        if declared != (graft.d_in, narrow.d_sae, graft.k) or graft.child_W_enc.shape != (
            graft.d_in,
            graft.k,
        ):
            raise UserError(f"the graft in {folder} is damaged: its tensors and config.json disagree")
        return graft.to(device)


@dataclass(frozen=True)
class GraftProgress:
    """Where a graft's training stands, means over the batch of one step.

    ``error``: Σ_d of the squared error on hot tokens; ``l0``: children above zero per hot token."""

    step: int
    steps: int
    loss: float
    error: float
    l1: float
    l0: float
    lr: float
    l1_coeff: float


@torch.no_grad()
def graft(
    narrow: SAE,
    x_hot: Tensor,
    recipe: GraftRecipe,
    on_progress: Callable[[GraftProgress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Graft:
    """Splits ``narrow``'s target into ``recipe.children`` children, on activations ``x_hot [n, d_in]`` on
    which the target fires above the threshold (others are left out).

    The children learn ``y = x - (narrow's reconstruction without its target)``, with a squared error and
    an L1 term whose coefficient rises from zero. They begin in random directions, encoder and decoder
    alike, which ends cleaner than beginning in those of the data. No bias is added to their sum, so that
    what the target explained has to be explained by children: a hot token on which none fires is
    reconstructed without the target, and counts as error.

    ``on_progress`` is called every 20 steps and at the end; ``should_stop`` is asked as often and ends the
    training there. Deterministic in the recipe's seed. UsageError for a target out of range, UserError
    where no token is hot.
    """
    x, y = hot_residual(narrow, x_hot, recipe)
    y = y + narrow.b_dec  # which the step adds to the children's sum, as in any SAE
    generator = torch.Generator().manual_seed(recipe.seed)
    core = TrainStep(
        initial_children(narrow, recipe, generator),
        batch_size=recipe.batch_size,
        device=x.device,
        train_b_dec=False,
    )
    for step in range(recipe.steps):
        drawn = torch.randint(len(x), (recipe.batch_size,), generator=generator).to(x.device)
        l1_coeff = recipe.l1_coeff * rising_share(step, recipe.steps, recipe.l1_warmup)
        stats = core(x[drawn], y[drawn], lr=recipe.lr, l1_coeff=l1_coeff)
        if step % 20 == 0 or step == recipe.steps - 1:
            sums = torch.stack([stats.squared_error, stats.l1, stats.firings.sum()])
            error, l1, l0 = (sums / recipe.batch_size).tolist()
            loss = error + l1_coeff * l1
            on_progress(GraftProgress(step + 1, recipe.steps, loss, error, l1, l0, recipe.lr, l1_coeff))
            if should_stop():
                break
    return assembled(narrow, recipe, core.W_encT, core.b_enc, core.W_dec, child_shares(core.encode(x)))


def hot_residual(narrow: SAE, x_hot: Tensor, recipe: GraftRecipe) -> tuple[Tensor, Tensor]:
    """What children learn from: of activations ``x_hot [n, d_in]`` those on which the target fires above the
    threshold, and what the narrow SAE without its target leaves of them unexplained. Raises as ``graft``."""
    check_target(narrow, recipe.target)
    x = x_hot[narrow.encode_feature(x_hot, recipe.target) > recipe.threshold]
    if len(x) == 0:
        raise UserError(
            f"feature {recipe.target} never fires above {recipe.threshold:g} on the tokens given: "
            "lower --threshold"
        )
    return x, x - without_target(narrow, recipe.target, x)


def assembled(
    narrow: SAE, recipe: GraftRecipe, W_encT: Tensor, b_enc: Tensor, W_dec: Tensor, shares: Tensor
) -> Graft:
    """The graft of trained children, ``W_encT`` and ``W_dec [k, d_in]``, by falling ``shares [k]``."""
    order = shares.argsort(descending=True, stable=True)
    return Graft(
        narrow=narrow,
        target=recipe.target,
        threshold=recipe.threshold,
        child_W_enc=W_encT[order].T.contiguous(),
        child_b_enc=b_enc[order],
        child_W_dec=W_dec[order],
    )


def child_shares(f: Tensor) -> Tensor:
    """Of hot tokens with the children's activations ``f [tokens, k]``, the share on which each child is the
    strongest one, ``[k]``; tokens on which none fires count for none."""
    strongest = f.max(1)
    winners = strongest.indices[strongest.values > 0]
    return torch.bincount(winners, minlength=f.shape[1]).double() / len(f)


def initial_children(narrow: SAE, recipe: GraftRecipe, generator: torch.Generator) -> SAE:
    """Children in random directions, encoder and decoder alike."""
    W_dec = torch.randn(recipe.children, narrow.d_in, generator=generator)
    W_dec = (W_dec / W_dec.norm(dim=1, keepdim=True)).to(narrow.device)
    return SAE(W_enc=W_dec.T, b_enc=torch.zeros(recipe.children), W_dec=W_dec, b_dec=narrow.b_dec)


def _weights(sae: SAE) -> dict[str, Tensor]:
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    return {name: value for name in names if (value := getattr(sae, name)) is not None}
