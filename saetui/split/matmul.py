"""Which library multiplies fp32 matrices on the CPU.

Torch's default (MKL) takes its AVX2 path on AMD; oneDNN has AVX-512 kernels there and can be twice as fast.
The switch that sends fp32 products to oneDNN also permits it to round inputs to bfloat16 where the CPU has
AMX, so it is tried out: it stays on only where the product of the run's own shapes is as exact and faster.

What was found is kept, because timing is noisy where the two are close: else two runs of one recipe would
differ in their last bits, and find none of each other's activations in the cache.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from saetui.atomic import write_atomic
from saetui.settings import cache_root


@dataclass(frozen=True)
class Matmul:
    engine: str
    """``onednn`` or ``default``."""
    error: float
    """Relative difference of the two engines' products."""
    speedup: float
    """Of oneDNN over the default."""


def use_matmul(engine: str) -> None:
    """Switches this process's fp32 products to ``engine``."""
    torch.backends.mkldnn.matmul.fp32_precision = (  # pyright: ignore[reportAttributeAccessIssue]
        "bf16" if engine == "onednn" else "none"
    )


@contextmanager
def gpu_products(precision: str) -> Iterator[None]:
    """fp32 products on a GPU in ``tf32`` (inputs rounded to 10 bits, on tensor cores) or ``ieee``."""
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, precision  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        matmul.fp32_precision = before  # pyright: ignore[reportAttributeAccessIssue]


def choose_matmul(rows: int, d_in: int, d_sae: int) -> Matmul:
    """Compares the engines on one encoder product, and switches to the better one."""
    generator = torch.Generator().manual_seed(0)
    x, W = torch.randn(rows, d_in, generator=generator), torch.randn(d_in, d_sae, generator=generator)
    if not torch.backends.mkldnn.is_available():
        return Matmul("default", 0.0, 1.0)
    use_matmul("default")
    exact, default_s = _timed(x, W)
    use_matmul("onednn")
    other, onednn_s = _timed(x, W)
    error = float((other - exact).norm() / exact.norm())
    engine = "onednn" if error < 1e-6 and onednn_s < 0.9 * default_s else "default"
    use_matmul(engine)
    return Matmul(engine, error, default_s / onednn_s)


def settled_matmul(rows: int, d_in: int, d_sae: int) -> Matmul:
    """As ``choose_matmul``, but what was once found on this CPU with this torch and ``d_in`` stays."""
    path = cache_root() / "matmul.json"
    known: dict[str, dict[str, float | str]] = {}
    with suppress(OSError, ValueError, TypeError):
        known = dict(json.loads(path.read_bytes()))
    key = f"{_cpu()} · torch {torch.__version__} · d_in {d_in}"
    with suppress(KeyError, TypeError):
        found = Matmul(**known[key])  # pyright: ignore[reportArgumentType]
        use_matmul(found.engine)
        return found
    found = choose_matmul(rows, d_in, d_sae)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(known | {key: asdict(found)}, indent=1).encode())
    return found


def _cpu() -> str:
    """The CPU's name, where the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return torch.backends.cpu.get_cpu_capability()


def _timed(x: Tensor, W: Tensor) -> tuple[Tensor, float]:
    out, best = x @ W, float("inf")
    for _ in range(3):
        start = time.perf_counter()
        torch.mm(x, W, out=out)
        best = min(best, time.perf_counter() - start)
    return out, best
