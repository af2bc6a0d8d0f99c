"""Which library multiplies fp32 matrices on the CPU.

Torch's default (MKL) takes its AVX2 path on AMD; oneDNN has AVX-512 kernels there and can be twice as fast.
The switch that sends fp32 products to oneDNN also permits it to round inputs to bfloat16 where the CPU has
AMX, so it is tried out: it stays on only where a product of the run's own shapes is as exact and far faster.
Where the two are close it is torch's default, lest the clock decide; and what was found is kept: two runs of
one recipe by different engines would differ in their last bits, and find none of each other's activations in
the cache.
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

FAR_FASTER = 1.5
"""Times that oneDNN must be as fast as the default: on one thread, in CPU seconds, the two taking turns. On
an EPYC with AVX-512 they measure 1.1, and there a dense step takes 0.9 to 0.95 of its time by oneDNN, but a
language model's forward, whose attention torch then computes more slowly, 1.2."""
ROUNDS = 5


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
    products: dict[str, Tensor] = {}
    seconds: dict[str, list[float]] = {"default": [], "onednn": []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(ROUNDS):
        for engine, taken in seconds.items():
            use_matmul(engine)
            products[engine] = x @ W  # warms up: the engine was switched
            taken.append(_cpu_s(x, W, products[engine]))
    torch.set_num_threads(threads)
    exact = products["default"]
    error = float((products["onednn"] - exact).norm() / exact.norm())
    speedup = min(seconds["default"]) / min(seconds["onednn"])
    engine = "onednn" if error < 1e-6 and speedup > FAR_FASTER else "default"
    use_matmul(engine)
    return Matmul(engine, error, speedup)


def settled_matmul(rows: int, d_in: int, d_sae: int) -> Matmul:
    """As ``choose_matmul``, but what was once found on this CPU with this torch and ``d_in`` stays."""
    path = cache_root() / "matmul.json"
    known: dict[str, dict[str, float | str]] = {}
    with suppress(OSError, ValueError, TypeError):
        known = dict(json.loads(path.read_bytes()))
    key = f"{_cpu()} · torch {torch.__version__} · d_in {d_in} · from {FAR_FASTER} × on"
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


def _cpu_s(x: Tensor, W: Tensor, out: Tensor) -> float:
    begun = time.process_time()  # whatever else the machine does
    torch.mm(x, W, out=out)
    return time.process_time() - begun
