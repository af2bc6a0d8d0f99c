"""Which features can be active on which tokens, by products of 8-bit integers.

Rows are rounded to ``scale * low`` with ``low`` in -127…127. How far a rounded product can be from the true
one is known: by Cauchy-Schwarz ``|w·x - ŵ·x̂| ≤ |w| |x - x̂| + |w - ŵ| |x̂|``, and all four norms are measured.
A pair whose rounded pre-activation is below zero by more than that is inactive; the others, about two for
each active one, are evaluated in fp32. The active pairs and their values are those of an fp32 product, up to
the rounding of fp32 itself.

CPUs with VNNI or AMX multiply 8-bit integers several times faster than floats, and exactly.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 2e-6
"""Part of ``|w| |x|`` by which sums in fp32 may be off; goes on top of the bound."""
WORTH = 1.5
"""Times that the integer product must be faster than that in fp32 to be worth the pairs evaluated twice."""


@dataclass(frozen=True)
class Quantised:
    """Rows ``[n, d]`` as ``scale [n] * low [n, d]`` (int8). ``norm [n]``: the larger of a row's norm and its
    rounded one's, ``error [n]``: the norm of what rounding took, with the slack for fp32 sums."""

    low: Tensor
    scale: Tensor
    norm: Tensor
    error: Tensor


def quantise(rows: Tensor) -> Quantised:
    """``rows [n, d]``, fp32, to the nearest multiples of a 127th of each one's largest value."""
    scale = rows.abs().amax(1) / 127
    # Norms in units of the scale: squares of tiny numbers would vanish.
    scaled = rows * torch.where(scale > 0, 1 / scale, 0).unsqueeze(1)
    low = torch.round(scaled)
    norm = torch.maximum(scaled.norm(dim=1), low.norm(dim=1))
    error = scale * ((scaled - low).norm(dim=1) * 1.0001 + ROUNDING * norm)
    return Quantised(low.to(torch.int8), scale, scale * norm, error)


def integer_products(x: Tensor, W: Tensor, out: Tensor) -> Tensor:
    """``x @ W.T`` of int8 ``[tokens, d_in]`` and ``[d_sae, d_in]``, int32, into ``out``."""
    return torch._int_mm(x, W.T, out=out)  # pyright: ignore[reportPrivateImportUsage]


def tokens_at_once(d_sae: int) -> int:
    """Tokens whose products with ``d_sae`` features stay in a CPU's cache."""
    return max(32, 2**20 // d_sae)


def screening_speedup(d_in: int, d_sae: int) -> float:
    """Times that the integer product is faster here than the fp32 product that it stands in for; 0 where it
    is not exact or does not exist."""
    tokens = tokens_at_once(d_sae)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-127, 128, (tokens, d_in), generator=generator, dtype=torch.int8)
    W = torch.randint(-127, 128, (d_sae, d_in), generator=generator, dtype=torch.int8)
    out = torch.empty(tokens, d_sae, dtype=torch.int32)
    try:
        integer_products(x, W, out)
    except RuntimeError:
        return 0.0
    few = slice(0, 64)  # exact in fp64
    if not torch.equal(out[:, few].double(), x.double() @ W[few].double().T):
        return 0.0
    x_float, W_float, product = x.float(), W.float(), out.float()
    integer_s = _best_cpu_s(lambda: integer_products(x, W, out))
    return _best_cpu_s(lambda: torch.mm(x_float, W_float.T, out=product)) / integer_s


def _best_cpu_s(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.process_time()  # whatever else the machine does
        call()
        best = min(best, time.process_time() - start)
    return best
