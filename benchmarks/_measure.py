"""What the pipeline benchmarks share, SAELens' own interpreter included: nothing of saetui is needed."""

import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TypeVar

T = TypeVar("T")

D_MODEL, D_SAE, D_VOCAB, SEQ_LEN, BATCH = 512, 4096, 48262, 128, 4096
"""gelu-1l and the seed's wide SAE."""
AT_LEAST_S = 8.0
"""A machine shared with others is slower for some seconds at a time."""
LM_FLOPS = 2 * (4 * D_MODEL**2 + 2 * SEQ_LEN * D_MODEL + 8 * D_MODEL**2)
"""Of a token up to ``hook_mlp_out``: attention's four matrices, the full square of attention, the MLP."""


@dataclass(frozen=True)
class Rates:
    """Of one pipeline in steady state. Rates are tokens per CPU second of the whole process, which do not
    depend on what else the machine does as much as ``wall``, tokens per second, does."""

    variant: str
    whole: float
    sae: float
    lm: float
    wall: float
    rss_mib: float
    l0: float | None = None
    flops: dict[str, float] = field(default_factory=dict[str, float])
    """Of the algorithm, a token, by the dtype that it is done in."""
    matmul: dict[str, float] = field(default_factory=dict[str, float])
    """FLOP per CPU second of one large product, measured in this process, by dtype."""


def pin(cores: int) -> None:
    """To be called before torch is imported."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])
    os.environ["OMP_NUM_THREADS"] = str(cores)


class Split:
    """CPU seconds of a process, those on data set apart."""

    def __init__(self) -> None:
        self._data = 0.0

    def on_data(self, call: Callable[[], T]) -> T:
        begun = time.process_time()
        result = call()
        self._data += time.process_time() - begun
        return result

    def measure(self, variant: str, run: Callable[[], object], trained: Callable[[], int]) -> Rates:
        """Rates of ``run``, repeated for ``AT_LEAST_S``; ``trained()`` tells on how many tokens that was."""
        self._data = 0.0
        begun, used = time.perf_counter(), time.process_time()
        while time.perf_counter() - begun < AT_LEAST_S:
            run()
        cpu, wall = time.process_time() - used, time.perf_counter() - begun
        tokens = trained()
        return Rates(
            variant,
            whole=tokens / cpu,
            sae=tokens / (cpu - self._data),
            lm=tokens / self._data,
            wall=tokens / wall,
            rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )


def report(rates: Rates) -> None:
    print(json.dumps(asdict(rates)))
