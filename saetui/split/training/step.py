"""One training step of a ReLU SAE with an L1 penalty, its gradients written by hand.

The loss is that of ``saetui.split.training.loss``. Autograd spends 12·d·F multiply-adds a token on it, of
which a sixth is a gradient with respect to the input that nobody needs; written by hand it is 10·d·F, in
buffers that are allocated once. On a CPU most of even that is multiplication by zero once the SAE is sparse:
below a measured share of active features the step goes by ``saetui.split.training.sparse``, over the active
ones only, in fp32 whatever the dtype of the dense products.

Both matrices are kept feature by feature, ``[d_sae, d_in]``: a feature's weights are one row, which is what
the sparse products gather and what resampling writes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from saetui.sae.sae import SAE
from saetui.split.recipe import DecoderNorm, Dtype, Reduction
from saetui.split.training.adam import FusedAdam
from saetui.split.training.cuda_graph import Number
from saetui.split.training.matmul import gpu_products
from saetui.split.training.sparse import Reconstruction, SparseOperators, sparse_operators, without_parallel


@dataclass(frozen=True)
class StepStats:
    """What a step saw, summed over its tokens, as tensors on the device, to be read before the next step."""

    squared_error: Tensor
    """0-d: Σ_t |x̂_t - y_t|²."""
    l1: Tensor
    """0-d: Σ_t Σ_f activations, times decoder norms where these are free."""
    firings: Tensor
    """``[d_sae]``, fp32: tokens on which each feature fired."""


class TrainStep:
    """A ReLU SAE in training: weights, Adam's moments, and the step.

    ``sae`` is copied, to fp32 master weights on ``device``. ``silent``: a feature whose activation the loss
    sees at zero. ``train_b_dec=False`` keeps ``b_dec`` as it is. ``dtype`` is that of the dense products;
    ``operators`` make the sparse steps, torch's where nothing is said.

    With ``decoder_norm="unit"`` every decoder row's gradient loses its component along the row, and rows are
    divided by their norms *after* Adam's update: normalising before it, as the seed's code did, leaves every
    saved SAE an update away from the norms that its activations are read in.

    Where several processes share a batch, each has ``rows`` of its ``batch_size`` tokens, and ``add_up``
    replaces a tensor by its sum over all of them. The loss is that of the whole batch in every case: what
    it averages it divides by ``batch_size``, never by what one process has of it.
    """

    def __init__(
        self,
        sae: SAE,
        *,
        batch_size: int,
        rows: int | None = None,
        add_up: Callable[[Tensor], None] | None = None,
        device: torch.device | str = "cpu",
        betas: tuple[float, float] = (0.9, 0.99),
        l1_reduction: Reduction = "mean",
        decoder_norm: DecoderNorm = "unit",
        dtype: Dtype = "float32",
        silent: int | None = None,
        train_b_dec: bool = True,
        operators: SparseOperators | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.l1_reduction: Reduction = l1_reduction
        self.decoder_norm: DecoderNorm = decoder_norm
        self.silent = silent
        self.train_b_dec = train_b_dec
        self._sae = sae
        self.W_encT = self._master(sae.W_enc.T)
        self.b_enc = self._master(sae.b_enc)
        self.W_dec = self._master(sae.W_dec)
        self.b_dec = self._master(sae.b_dec)
        self.weights = {"W_encT": self.W_encT, "b_enc": self.b_enc, "W_dec": self.W_dec, "b_dec": self.b_dec}
        self._add_up = add_up
        stats = {"firings": self.b_enc, "squared_error": torch.zeros(()), "l1": torch.zeros(())}
        asked = {"unscreened": torch.zeros(())}
        self._summed, parts = _side_by_side(self.weights | stats | asked, self.device)
        self._unscreened = parts["unscreened"]
        """Of several processes, how many have given the screen up."""
        self.grads = {name: parts[name] for name in self.weights}
        self._shared_stats = StepStats(**{name: parts[name] for name in stats})
        trained = [name for name in self.weights if train_b_dec or name != "b_dec"]
        self.adam = FusedAdam([self.weights[n] for n in trained], [self.grads[n] for n in trained], betas)

        d_in = self.W_dec.shape[1]
        self._products = "tf32" if dtype == "tf32" else "ieee"
        self._dtype = torch.bfloat16 if dtype == "bfloat16" else torch.float32
        self._can_be_sparse = self.device.type == "cpu"
        self.operators = operators or sparse_operators()
        self._crossover = self.operators.crossover["bfloat16" if dtype == "bfloat16" else "float32"]
        self.share = 0.0
        """Of all (token, feature) pairs of the last step, those that were active; this and …"""
        self.sparse = False
        """… whether the next step takes the sparse path are part of what an exact resume needs."""
        rows = batch_size if rows is None else rows
        self._x = torch.empty(rows, d_in, device=self.device)
        self._error = torch.empty(rows, d_in, device=self.device)
        # Rows of ones, each over some tokens, whose product with activations is their sums.
        some = rows if self._dtype == torch.float32 else 256
        of = torch.arange(rows, device=self.device) // some
        self._ones = (of == torch.arange(-(-rows // some), device=self.device).unsqueeze(1)).to(self._dtype)
        self._dense: tuple[Tensor, Tensor] | None = None
        """``[rows, d_sae]`` twice, held while steps are dense."""

    def __call__(self, x: Tensor, y: Tensor, *, lr: Number, l1_coeff: Number) -> StepStats:
        """One update from activations ``x [rows, d_in]`` towards ``y`` (same shape), fp32. Nothing is read
        back from a GPU, where the numbers may be tensors."""
        stats = self.gradients(x, y, l1_coeff)
        self.update(lr)
        return stats

    @torch.no_grad()
    def gradients(self, x: Tensor, y: Tensor, l1_coeff: Number) -> StepStats:
        """Fills ``grads``; the weights stay."""
        l1_weight = l1_coeff if self.l1_reduction == "sum" else l1_coeff / self.batch_size
        norms = self.W_dec.norm(dim=1) if self.decoder_norm == "free" else None
        torch.sub(x, self.b_dec, out=self._x)
        path = self._sparse_gradients if self.sparse else self._dense_gradients
        with gpu_products(self._products):
            stats, sums = path(y, l1_weight, norms)
        if norms is not None:  # d/dW_dec of l1_weight · Σ_f sums_f |W_dec[f]|
            self.grads["W_dec"].addcmul_(self.W_dec, (l1_weight * sums / norms).unsqueeze(1))
        if self._add_up is not None:
            stats = self._over_all(stats, self._add_up)
        if self._can_be_sparse:
            if self._add_up is not None:  # all of them or none, so that what one saves holds for all
                self.operators.screened = not self._unscreened
            self.share = float(stats.firings.sum()) / (self.batch_size * len(self.b_enc))
            self.sparse = self.share < (self._crossover.above if self.sparse else self._crossover.below)
        return stats

    @torch.no_grad()
    def update(self, lr: Number) -> None:
        """Adam's update from ``grads``, and the decoder's norm."""
        self.adam.step(lr)
        if self.decoder_norm == "unit":
            self.W_dec /= self.W_dec.norm(dim=1, keepdim=True)

    def sae(self) -> SAE:
        """A copy of the SAE as it is now, fp32, on the step's device."""
        return replace(
            self._sae,
            W_enc=self.W_encT.T.contiguous(),
            b_enc=self.b_enc.clone(),
            W_dec=self.W_dec.clone(),
            b_dec=self.b_dec.clone(),
        )

    def encode(self, x: Tensor) -> Tensor:
        """Activations ``[tokens, d_sae]``, fp32, of ``x [tokens, d_in]``; a silent feature's are shown."""
        return torch.relu(torch.addmm(self.b_enc, x - self.b_dec, self.W_encT.T))

    def tensors(self) -> dict[str, Tensor]:
        """Weights and Adam's state, by name: what a checkpoint holds. Live tensors, not copies."""
        state = {}
        for name, weight in self.weights.items():
            state[name] = weight
            for moment, value in self.adam.state.get(weight, {}).items():
                state[f"adam.{moment}.{name}"] = value
        return state

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Takes back what ``tensors`` gave."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

    @torch.no_grad()
    def forget(self, features: Tensor) -> None:
        """Zeroes Adam's moments of some features (indices ``[n]``), whose weights have been replaced."""
        for name in ("W_encT", "b_enc", "W_dec"):
            for moment in ("exp_avg", "exp_avg_sq"):
                self.adam.state[self.weights[name]][moment][features] = 0

    def _over_all(self, stats: StepStats, add_up: Callable[[Tensor], None]) -> StepStats:
        """Gradients and ``stats`` summed over the processes, in one go."""
        shared = self._shared_stats
        shared.firings.copy_(stats.firings)
        shared.squared_error.copy_(stats.squared_error)
        shared.l1.copy_(stats.l1)
        self._unscreened.fill_(not self.operators.screened)
        add_up(self._summed)
        return shared

    def _master(self, weight: Tensor) -> Tensor:
        return weight.detach().to(self.device, torch.float32).clone(memory_format=torch.contiguous_format)

    def _dense_gradients(
        self, y: Tensor, l1_weight: Number, norms: Tensor | None
    ) -> tuple[StepStats, Tensor]:
        if self._dense is None:
            f = torch.empty(len(self._x), len(self.b_enc), dtype=self._dtype, device=self.device)
            self._dense = f, torch.empty_like(f)
        f, df = self._dense
        # No copies in fp32.
        x, W_encT, W_dec = (tensor.to(self._dtype) for tensor in (self._x, self.W_encT, self.W_dec))
        torch.addmm(self.b_enc.to(self._dtype), x, W_encT.T, out=f)
        f.relu_()
        if self.silent is not None:
            f[:, self.silent] = 0
        error = self._error
        error.copy_(f @ W_dec) if self._dtype != error.dtype else torch.mm(f, W_dec, out=error)
        error.add_(self.b_dec).sub_(y)
        squared_error = error.square().sum(1).sum()
        g = error.mul_(2 / self.batch_size)
        g_low = g.to(self._dtype)
        self._product(f.T, g_low, self.grads["W_dec"])
        if self.decoder_norm == "unit":
            without_parallel(self.grads["W_dec"], self.W_dec)
        torch.mm(g_low, W_dec.T, out=df)
        df.add_(l1_weight if norms is None else (l1_weight * norms).to(self._dtype))
        torch.ops.aten.threshold_backward.grad_input(df, f, 0, grad_input=df)  # zero where f is
        self._product(df.T, x, self.grads["W_encT"])
        self.grads["b_enc"].copy_(self._column_sums(df))
        self._b_dec_gradient(g)
        sums = self._column_sums(f)
        firings = self._column_sums(torch.sign(f, out=df))
        return StepStats(squared_error, _weighted(sums, norms), firings), sums

    def _sparse_gradients(
        self, y: Tensor, l1_weight: Number, norms: Tensor | None
    ) -> tuple[StepStats, Tensor]:
        self._dense = None
        pairs = self.operators.active(self._x, self.W_encT, self.b_enc, self.silent, self.share)
        of = Reconstruction(
            self._x,
            y.contiguous(),
            self.W_dec,
            self.b_dec,
            scale=2 / self.batch_size,
            l1=l1_weight * (torch.ones_like(self.b_enc) if norms is None else norms),
            tangent=self.decoder_norm == "unit",
        )
        sums = self.operators.gradients(pairs, of, self._error, self.grads)
        self._b_dec_gradient(self._error)
        stats = StepStats(sums.squared_error, _weighted(sums.activations, norms), sums.firings)
        return stats, sums.activations

    def _b_dec_gradient(self, g: Tensor) -> None:
        # b_dec is added to every reconstruction and subtracted before every encoding; for the latter, summing
        # over tokens first makes one matrix-vector product of what autograd does for every token.
        torch.sub(torch.ones_like(g[:, 0]) @ g, self.W_encT.T @ self.grads["b_enc"], out=self.grads["b_dec"])

    def _column_sums(self, values: Tensor) -> Tensor:
        """Sums over tokens, fp32. Counts are exact in bfloat16 too: it has all whole numbers up to 256."""
        if self.device.type == "cpu":  # where sum() of bfloat16 takes six times as long
            return (self._ones @ values).sum(0, dtype=torch.float32)
        return values.sum(0, dtype=torch.float32)

    @staticmethod
    def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
        out.copy_(a @ b) if a.dtype != out.dtype else torch.mm(a, b, out=out)


def _side_by_side(like: dict[str, Tensor], device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """Zeros of these shapes, fp32, one after the other in one tensor; that tensor, and each as a view."""
    whole = torch.zeros(sum(tensor.numel() for tensor in like.values()), device=device)
    parts = whole.split([tensor.numel() for tensor in like.values()])
    return whole, {name: part.view(like[name].shape) for name, part in zip(like, parts, strict=True)}


def _weighted(sums: Tensor, norms: Tensor | None) -> Tensor:
    return sums.sum() if norms is None else sums @ norms
