"""The engine over the tiny model: the real server, with files taken out of loading.

``setup["model"]`` chooses: ``tiny``, ``slow`` (its corpus comes a little at a time), ``endless`` (so too, and
for longer than a test lasts), ``broken`` (cannot be loaded), ``faulty`` (loads, and then fails in the middle
of a forward).
"""

import sys
import time
import types
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UserError
from saetui.sae.sae import SAE
from saetui.setup import Setup
from tests.tiny import TinyLM, TinyRows, tiny_sae

ROWS = {"slow": 4000, "endless": 400_000}


class SlowRows(TinyRows):
    """As a corpus that is being built: every read takes a while."""

    def read(self, start: int, count: int) -> NDArray[np.integer]:
        time.sleep(0.02)
        return super().read(start, count)


class FaultyLM(TinyLM):
    def activations(self, tokens: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("a bug\nwith a second line")


def load_lm(setup: Setup) -> TinyLM:
    print("a stray print, which must not reach the protocol")  # noqa: T201
    if setup.model == "broken":
        raise UserError("broken has no weights: train it first")
    return FaultyLM() if setup.model == "faulty" else TinyLM()


def load_sae(setup: Setup) -> SAE:
    return tiny_sae(bias=-1.0)


def open_rows(
    setup: Setup, tokenizer: Tokenizer, split: str, progress: Callable[[float, str], None] | None = None
) -> TinyRows:
    if progress:
        progress(0.5, "building the corpus")
    kind = SlowRows if setup.model in ROWS else TinyRows
    rows = kind(ROWS.get(setup.model, 4000), seed=0 if split == "train" else 1)
    rows.fingerprint += setup.dataset  # a data set of another name is indexed anew
    return rows


def check_fit(lm: TinyLM, sae: SAE) -> list[str]:
    return ["a warning"]


def main() -> None:
    loading = types.ModuleType("saetui.loading")
    for function in (load_lm, load_sae, open_rows, check_fit):
        setattr(loading, function.__name__, function)
    sys.modules["saetui.loading"] = loading
    torch.set_num_threads(1)
    from saetui.engine.server import main as serve

    serve()


if __name__ == "__main__":
    main()
