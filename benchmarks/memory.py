"""Peak memory of training 512 → 4096 with the default buffer, through a refill and a checkpoint.

Measured in a process of its own, gelu-1l-shaped language model included. To reach: less than 1.5 GiB.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import _results
from benchmarks._measure import D_MODEL

REACH_MIB = 1536
INSIDE = "--inside"


def main() -> int:
    if INSIDE in sys.argv:
        print(json.dumps(steps()))
        return 0
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", INSIDE], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout)
    for name, mib in found.items():
        print(f"  {name:34} {mib:8,.0f} MiB")
    most = max(found.values())
    _results.store("memory", found)
    print(f"peak {most:,.0f} MiB, to reach {REACH_MIB:,} MiB")
    return int(most > REACH_MIB)


def steps() -> dict[str, float]:
    """Peak MiB after each step of a run."""
    from benchmarks.queries import RandomRows, language_model
    from saetui.lm.streaming import streaming
    from saetui.runs import checkpoint
    from saetui.split.activations.data import ShuffledActivations
    from saetui.split.activations.filtered import FilteredRows
    from saetui.split.recipe import SplitRecipe
    from saetui.split.training.matmul import choose_matmul
    from saetui.split.training.sparse import choose_sparse_engine
    from saetui.split.training.trainer import Trainer

    recipe = SplitRecipe(init="random", data="all", lr=1e-12)
    choose_matmul(2048, D_MODEL, recipe.d_sae)
    found = {}

    def note(what: str) -> None:
        found[what] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    lm = language_model()
    note("language model loaded")
    stream, _ = streaming(lm, recipe.dtype, recipe.tokens)
    source = ShuffledActivations(FilteredRows(stream, RandomRows(), recipe), recipe)
    engine, _ = choose_sparse_engine(D_MODEL, recipe.d_sae)
    trainer = Trainer(recipe, source, D_MODEL, sparse_engine=engine)
    # What the memory holds does not depend on whether features fire, but the time it takes to get there does.
    trainer.core.b_enc.fill_(-100.0)
    trainer.core.sparse = True
    while source.state().values["blocks"] < 4:
        trainer.advance()
    note("first full buffer")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), *trainer.state())
    note("checkpoint")
    while source.state().values["blocks"] < 5:
        trainer.advance()
    note("refill of a full buffer")
    trainer.core.b_enc.zero_()
    trainer.core.sparse = False
    trainer.advance()
    note("a dense step")
    return found


if __name__ == "__main__":
    sys.exit(main())
