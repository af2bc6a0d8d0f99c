"""Latency of every look at a feature, at gelu-1l's size: d 512, 4096 features, vocabulary 48262.

Random weights, random tokens; the biases are set so that about 1 % of the features fire on a token, as in
a trained SAE. The index is built over few tokens, since a lookup does not depend on how many; how fast it
is built is printed beside it.
"""

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from benchmarks import _results
from saetui.corpus.tokenizer import Tokenizer
from saetui.features.find import find
from saetui.features.index import FeatureIndex
from saetui.features.lens import lens
from saetui.features.lens_table import LensTable
from saetui.features.neighbours import neighbours
from saetui.features.probe import probe
from saetui.features.row_store import RowStore
from saetui.lm.direct import DirectModel
from saetui.lm.one_layer import OneLayer, OneLayerConfig
from saetui.sae.sae import SAE

D_MODEL, D_SAE, D_VOCAB, SEQ_LEN = 512, 4096, 48262, 128
TOKENS = 32_768
REPEATS = 40


class RandomRows:
    name = "random tokens"
    fingerprint = "benchmark"
    seq_len = SEQ_LEN
    bos = True

    def __init__(self, count: float = math.inf) -> None:
        self._count = count

    def read(self, start: int, count: int) -> NDArray[np.integer]:
        count = int(max(0, min(count, self._count - start)))
        rows = np.random.default_rng(start).integers(1, D_VOCAB, (count, SEQ_LEN), np.int32)
        rows[:, 0] = 0
        return rows


def tokenizer() -> Tokenizer:
    words = {"<|BOS|>": 0, **{f"w{i}": i for i in range(1, D_VOCAB)}}
    inner = tokenizers.Tokenizer(WordLevel(words, unk_token="w1"))
    inner.pre_tokenizer = Whitespace()
    inner.add_special_tokens(["<|BOS|>"])
    return Tokenizer(inner)


def language_model() -> DirectModel:
    config = OneLayerConfig(D_MODEL, 8, 64, 4 * D_MODEL, 1024, D_VOCAB)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * D_MODEL**-0.5
        for name, shape in config.shapes().items()
    }
    return DirectModel(OneLayer(config, weights), tokenizer(), "random")


def sparse_sae(lm: DirectModel, rows: RandomRows) -> SAE:
    x = lm.activations(torch.from_numpy(rows.read(0, 16).astype(np.int64)))[:, 1:].flatten(0, 1)
    generator = torch.Generator().manual_seed(1)
    W_dec = torch.nn.functional.normalize(torch.randn(D_SAE, D_MODEL, generator=generator), dim=-1)
    mean = x.mean(0)
    strongest = ((x - mean) @ W_dec.T).kthvalue(int(0.99 * len(x)), dim=0).values
    return SAE(W_dec.T.contiguous(), -strongest, W_dec, mean)


@dataclass(frozen=True)
class Latency:
    """Milliseconds: ``median`` and ``p95`` of wall time, ``cpu`` the median CPU time of all threads (what the
    wall time would be on one core that nobody else uses)."""

    median: float
    p95: float
    cpu: float


def measure(call: Callable[[int], object]) -> Latency:
    """Over ``REPEATS`` calls, after one to warm up."""
    call(0)
    wall: list[float] = []
    cpu: list[float] = []
    for i in range(REPEATS):
        begun, used = time.perf_counter(), time.process_time()
        call(i)
        wall.append(1e3 * (time.perf_counter() - begun))
        cpu.append(1e3 * (time.process_time() - used))
    return Latency(statistics.median(wall), sorted(wall)[int(0.95 * REPEATS)], statistics.median(cpu))


def main() -> int:
    lm, rows = language_model(), RandomRows()
    sae = sparse_sae(lm, rows)
    prompt = " ".join(f"w{i}" for i in range(100, 120))
    with tempfile.TemporaryDirectory() as folder:
        index = FeatureIndex(RowStore(lm, rows, Path(folder)), sae)
        begun = time.perf_counter()
        index.build(TOKENS)
        seconds = time.perf_counter() - begun
        table = LensTable(lm, sae)
        while not table.complete:
            table.advance()
        results = {
            name: (measure(call), limit)
            for name, limit, call in (
                ("probe, 20 tokens", 15, lambda i: probe(lm, sae, prompt)),
                ("contexts, top 20", 20, lambda i: index.contexts(i, intervals=0)),
                ("contexts, top 20 and 5 × 5 from quantiles", 20, lambda i: index.contexts(i)),
                ("logit lens, top and bottom 10", 10, lambda i: lens(lm, sae, i)),
                ("find: by token, boosted word and number", 100, lambda i: find(index, table, f"w{i}")),
                ("neighbours, top 10 of 4096", 10, lambda i: neighbours(sae, i)),
            )
        }
    print(f"{torch.get_num_threads()} threads; index over {index.tokens_read:,} tokens", end=" ")
    print(f"in {seconds:.1f} s ({index.tokens_read / seconds:,.0f} tokens/s, language model included)")
    print(f"{'':42} {'median':>8} {'p95':>8} {'CPU':>8} {'to reach':>9}   ms")
    missed = 0
    for name, (found, limit) in results.items():
        late = found.median > limit
        missed += late
        print(
            f"{name:42} {found.median:8.1f} {found.p95:8.1f} {found.cpu:8.1f} {limit:>9}{'  missed' * late}"
        )
    figures = {name: asdict(found) for name, (found, _) in results.items()}
    _results.store("queries", {"queries_ms": figures, "index_tokens_per_s": index.tokens_read / seconds})
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
