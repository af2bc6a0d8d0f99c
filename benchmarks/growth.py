"""How the cost of training grows with the width of the SAE, and with the length of a run.

By width: one step on 4096 tokens of 512 dimensions, dense and with 32 features active, each width in a
process of its own. By length: one sparse run at 512 → 4096 with the language model, read at every doubling.
Engines are chosen as a run chooses them; rates are tokens per CPU second.

    python -m benchmarks.growth [--tokens 8000000]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks import _results
from benchmarks._measure import BATCH, D_MODEL, D_SAE

WIDTHS = tuple(2**i for i in range(9, 17))
L0, REPEATS = 32, 3


def rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def width(d_sae: int) -> dict[str, Any]:
    import torch

    from benchmarks.train_step import with_l0
    from saetui.split.recipe import SplitRecipe
    from saetui.split.training.init import initial_sae
    from saetui.split.training.matmul import choose_matmul
    from saetui.split.training.sparse import choose_sparse_engine, sparse_operators
    from saetui.split.training.step import TrainStep

    choose_matmul(BATCH, D_MODEL, d_sae)
    x = torch.randn(BATCH, D_MODEL, generator=torch.Generator().manual_seed(0)) * 0.5
    sae = initial_sae(SplitRecipe(init="random", d_sae=d_sae), D_MODEL)
    engine, _ = choose_sparse_engine(D_MODEL, d_sae)
    step = TrainStep(with_l0(sae, x[:256], L0), batch_size=BATCH, operators=sparse_operators(engine))
    found: dict[str, Any] = {"d_sae": d_sae}
    for name, sparse in (("sparse", True), ("dense", False)):
        seconds: list[float] = []
        for _ in range(1 + REPEATS):  # the first warms up
            step.sparse = sparse
            used = time.process_time()
            step(x, x, lr=1e-12, l1_coeff=1.0)
            seconds.append(time.process_time() - used)
        found[name] = BATCH / statistics.median(seconds[1:])
        found[f"{name}_rss_mib"] = rss_mib()
    return found


def length(tokens: int) -> list[dict[str, Any]]:
    from benchmarks.queries import RandomRows, language_model
    from benchmarks.train_step import with_l0
    from saetui.lm.streaming import streaming
    from saetui.split.activations.data import ShuffledActivations
    from saetui.split.activations.filtered import FilteredRows
    from saetui.split.recipe import SplitRecipe
    from saetui.split.training.init import initial_sae
    from saetui.split.training.matmul import choose_matmul
    from saetui.split.training.sparse import choose_sparse_engine
    from saetui.split.training.trainer import Trainer

    recipe = SplitRecipe(init="random", data="all", d_sae=D_SAE, tokens=tokens, lr=1e-12)
    choose_matmul(BATCH, D_MODEL, D_SAE)
    lm, _ = streaming(language_model(), recipe.dtype, recipe.tokens)
    engine, _ = choose_sparse_engine(D_MODEL, D_SAE)
    pieces = FilteredRows(lm, RandomRows(), recipe)
    trainer = Trainer(recipe, ShuffledActivations(pieces, recipe), D_MODEL, sparse_engine=engine)
    sae = with_l0(initial_sae(recipe, D_MODEL), pieces.read(0).x[:512].float(), L0)
    trainer.core.b_enc.copy_(sae.b_enc)
    trainer.core.sparse = True
    found, at, used = [], tokens // 8, time.process_time()
    while not trainer.done:
        trainer.advance()
        if trainer.tokens >= at or trainer.done:
            rate = trainer.tokens / (time.process_time() - used)
            found.append({"tokens": trainer.tokens, "rate": rate, "rss_mib": rss_mib()})
            at *= 2
    return found


def inside(what: str, value: int) -> Any:
    """``what(value)`` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--inside", what, "--tokens", str(value)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8_000_000, help="of the longest run")
    parser.add_argument("--inside", choices=("width", "length"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps({"width": width, "length": length}[options.inside](options.tokens)))
        return 0
    print(f"  {'d_sae':>8} {'dense':>9} {'RSS MiB':>8} {f'L0 {L0}':>9} {'RSS MiB':>8}")
    widths = []
    for d_sae in WIDTHS:
        widths.append(one := inside("width", d_sae))
        print(
            f"  {d_sae:8,} {one['dense']:9,.0f} {one['dense_rss_mib']:8,.0f} {one['sparse']:9,.0f} "
            f"{one['sparse_rss_mib']:8,.0f}"
        )
    lengths = inside("length", options.tokens)
    print(f"  {'tokens':>10} {'tokens/CPU-s':>13} {'RSS MiB':>8}")
    for one in lengths:
        print(f"  {one['tokens']:10,} {one['rate']:13,.0f} {one['rss_mib']:8,.0f}")
    _results.store("growth", {"widths": widths, "lengths": lengths})
    return 0


if __name__ == "__main__":
    sys.exit(main())
