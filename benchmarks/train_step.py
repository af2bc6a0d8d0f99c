"""One training step of a ReLU SAE: ours, dense and sparse (compiled and not), beside the plain PyTorch loop.

All variants take turns in one process, so that whatever else the machine does hits them alike; what is
compared are medians, and CPU seconds beside wall seconds tell whether it was busy. Before anything is
timed, our gradients are held against autograd in double precision.

    python -m benchmarks.train_step [--size embedded|gelu-1l] [--rounds 5]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchmarks import _results
from saetui.sae.sae import SAE
from saetui.split.recipe import SplitRecipe
from saetui.split.training.init import initial_sae
from saetui.split.training.loss import sae_loss
from saetui.split.training.matmul import choose_matmul
from saetui.split.training.sparse import SparseEngine, choose_sparse_engine, sparse_operators
from saetui.split.training.step import TrainStep

SIZES = {"embedded": (256, 2048, 2048), "gelu-1l": (512, 4096, 4096)}
"""``d_in, d_sae, batch``."""
L0 = (16, 32, 64, 128)
LR, L1 = 1e-4, 1.2


class Plain(nn.Module):
    """The usual module: autograd through everything, decoder rows brought to norm 1 before each step."""

    def __init__(self, sae: SAE, lr: float = LR, l1_coeff: float = L1) -> None:
        super().__init__()
        self.l1_coeff = l1_coeff
        self.W_enc, self.b_enc = nn.Parameter(sae.W_enc.clone()), nn.Parameter(sae.b_enc.clone())
        self.W_dec, self.b_dec = nn.Parameter(sae.W_dec.clone()), nn.Parameter(sae.b_dec.clone())
        self.adam = torch.optim.Adam(self.parameters(), lr=lr, betas=(0.9, 0.99))

    def step(self, x: Tensor) -> None:
        acts = torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)
        x_hat = acts @ self.W_dec + self.b_dec
        loss = (x_hat - x).pow(2).sum(-1).mean(0) + self.l1_coeff / len(x) * acts.sum()
        loss.backward()
        with torch.no_grad():
            unit = self.W_dec / self.W_dec.norm(dim=-1, keepdim=True)
            assert self.W_dec.grad is not None
            self.W_dec.grad -= (self.W_dec.grad * unit).sum(-1, keepdim=True) * unit
            self.W_dec.data = unit
        self.adam.step()
        self.adam.zero_grad()


@dataclass(frozen=True)
class Timing:
    variant: str
    tokens_per_s: float
    ratio: float
    """To the plain loop in the same rounds."""
    cpu_tokens_per_s: float
    """By CPU seconds of all threads."""


def with_l0(sae: SAE, x: Tensor, l0: int) -> SAE:
    """``sae`` with encoder biases that leave ``l0`` features active on a token of ``x``."""
    pre = ((x[:512] - sae.b_dec) @ sae.W_enc + sae.b_enc).flatten().sort().values
    first = round(len(pre) * (1 - l0 / sae.d_sae))
    # Between two values: one at exactly zero would be on or off by the last bit.
    return replace(sae, b_enc=sae.b_enc - (pre[first - 1] + pre[first]) / 2)


def gradient_error(sae: SAE, x: Tensor, sparse: bool, engine: SparseEngine) -> float:
    """Largest relative error of our gradients against autograd in fp64, on some of the tokens."""
    x = x[:256]
    step = TrainStep(sae, batch_size=len(x), decoder_norm="free", operators=sparse_operators(engine))
    step.sparse = sparse
    step.gradients(x, x, L1)
    exact = sae.to(dtype=torch.float64)
    leaves = {n: getattr(exact, n).requires_grad_() for n in ("W_enc", "b_enc", "W_dec", "b_dec")}
    sae_loss(exact, x.double(), x.double(), L1, SplitRecipe(decoder_norm="free")).total.backward()
    errors = []
    for name, leaf in leaves.items():
        ours = step.grads["W_encT"].T if name == "W_enc" else step.grads[name]
        errors.append(float((ours - leaf.grad).norm() / leaf.grad.norm()))
    return max(errors)


def measure(size: str, rounds: int) -> list[Timing]:
    d_in, d_sae, batch = SIZES[size]
    x = torch.randn(batch, d_in, generator=torch.Generator().manual_seed(0)) * 0.5
    sae = initial_sae(SplitRecipe(init="random", d_sae=d_sae), d_in)
    variants: dict[str, Callable[[], None]] = {}
    plain = Plain(sae)
    variants["plain loop"] = lambda: plain.step(x)
    engine, said = choose_sparse_engine(d_in, d_sae)
    print(said)

    def ours(sae: SAE, sparse: bool, engine: SparseEngine = engine) -> Callable[[], None]:
        step = TrainStep(sae, batch_size=batch, operators=sparse_operators(engine))

        def run() -> None:
            step.sparse = sparse
            step(x, x, lr=LR, l1_coeff=L1)

        return run

    variants["ours, dense"] = ours(sae, sparse=False)
    for l0 in L0:
        sparse_sae = with_l0(sae, x, l0)
        error = gradient_error(sparse_sae, x, True, engine)
        if error > 1e-4:
            raise SystemExit(f"the sparse gradients are off by {error:.1e} at L0 {l0}")
        variants[f"ours, sparse at L0 {l0}"] = ours(sparse_sae, sparse=True)
        variants[f"ours, by torch at L0 {l0}"] = ours(sparse_sae, True, replace(engine, compiled=False))
    error = gradient_error(sae, x, False, engine)
    if error > 1e-4:
        raise SystemExit(f"the dense gradients are off by {error:.1e}")
    wall: dict[str, list[float]] = {name: [] for name in variants}
    cpu: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            start, used = time.perf_counter(), time.process_time()
            run()
            if number:  # the first round warms up
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - used)
    base = statistics.median(wall["plain loop"])
    return [
        Timing(
            variant=name,
            tokens_per_s=batch / statistics.median(times),
            ratio=base / statistics.median(times),
            cpu_tokens_per_s=batch / statistics.median(cpu[name]),
        )
        for name, times in wall.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=SIZES, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results: dict[str, object] = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    for size in options.size or SIZES:
        d_in, d_sae, batch = SIZES[size]
        matmul = choose_matmul(batch, d_in, d_sae)
        timings = measure(size, options.rounds)
        print(
            f"{size}: {d_in} → {d_sae}, batch {batch}, {torch.get_num_threads()} threads, "
            f"fp32 products by {matmul.engine} (oneDNN {matmul.speedup:.2f}× the default)"
        )
        print(f"  {'':24} {'tokens/s':>10} {'× plain':>8} {'tokens/CPU-s':>13}")
        for one in timings:
            print(
                f"  {one.variant:24} {one.tokens_per_s:10,.0f} {one.ratio:8.2f} {one.cpu_tokens_per_s:13,.0f}"
            )
        results[size] = {"matmul": vars(matmul), "timings": [vars(one) for one in timings]}
    _results.store("train_step", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
