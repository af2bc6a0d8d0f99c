"""Training on one GPU at gelu-1l's size: ours beside the plain loop, and the seed's split from launch to end.

512 → 4096, batch 4096, random gelu-1l-shaped model, rows of 128 random tokens. Rates are tokens a second in
steady state. Without a GPU there is nothing to measure, and it says so.

    python -m benchmarks.gpu
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks import _results
from benchmarks._measure import BATCH, D_MODEL, D_SAE, SEQ_LEN
from benchmarks.queries import RandomRows, language_model, sparse_sae
from benchmarks.train_step import Plain
from saetui.lm import checked
from saetui.lm.bridge import BridgeModel, boot_one_layer
from saetui.lm.direct import HOOK_NAME, DirectModel
from saetui.runs.follow import follow
from saetui.runs.launcher import launch
from saetui.runs.store import create_run
from saetui.sae.formats import save_saelens
from saetui.sae.sae import SAEMetadata
from saetui.setup import Setup
from saetui.split.activations.data import ShuffledActivations
from saetui.split.activations.filtered import FilteredRows, activations
from saetui.split.recipe import SplitRecipe
from saetui.split.training.init import initial_sae
from saetui.split.training.stopwatch import wait_for
from saetui.split.training.trainer import Trainer

TOKENS = 26_200_000
NARROW = 512
REACH = 5.0
"""Times the plain loop."""
REACH_S = 60.0
"""For the whole split, on an H200."""


def main() -> int:
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured")
        return 0
    device = torch.device("cuda:0")
    lm = DirectModel(language_model().model, language_model().tokenizer, "random", device)
    found: dict[str, float] = {}
    for dtype in ("float32", "tf32", "bfloat16"):
        found[f"ours, {dtype}"] = ours(lm, dtype)
    for autocast in (False, True):
        found["plain loop, autocast" if autocast else "plain loop"] = plain(lm, autocast)
    card, best = torch.cuda.get_device_name(device), found["ours, bfloat16"]
    print(f"{card}, tokens a second, language model and all")
    for name, rate in found.items():
        print(f"  {name:24} {rate:14,.0f}   {rate / found['plain loop']:5.2f}× the plain loop")
    seconds = whole_split(TOKENS)
    ratio = best / found["plain loop, autocast"]
    print(f"bfloat16 is {ratio:.1f}× the plain loop's autocast, to reach {REACH}")
    print(
        f"the seed's split of {TOKENS:,} tokens: {seconds:,.1f} s from launch to end, to reach {REACH_S:.0f}"
    )
    _results.store("gpu", {"card": card, "tokens_per_s": found, "split_s": seconds})
    return int(ratio < REACH or seconds > REACH_S)


def rate(device: torch.device, step: Callable[[], object], steps: int, batch: int) -> float:
    """Tokens a second, after a tenth of the steps to warm up."""
    for _ in range(max(1, steps // 10)):
        step()
    wait_for(device)
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    wait_for(device)
    return steps * batch / (time.perf_counter() - begun)


def ours(lm: DirectModel, dtype: str, steps: int = 640, batch: int = BATCH, d_sae: int = D_SAE) -> float:
    recipe = SplitRecipe.from_dict(
        {
            "init": "random", "data": "all", "d_sae": d_sae, "batch_size": batch, "tokens": 10**9,
            "dtype": dtype, "buffer_tokens": 32 * batch,
        }
    )  # fmt: skip
    source = ShuffledActivations(FilteredRows(lm, RandomRows(), recipe), recipe)
    trainer = Trainer(recipe, source, D_MODEL, device=lm.device)
    return rate(lm.device, trainer.advance, steps, batch)


def plain(lm: DirectModel, autocast: bool, steps: int = 160, batch: int = BATCH, d_sae: int = D_SAE) -> float:
    """TransformerLens' hook, a shuffled buffer, autograd."""
    bridge = boot_one_layer(lm.model, lm.device, process=False)
    hooked = BridgeModel(bridge, lm.tokenizer, "random", HOOK_NAME, lm.device)
    sae = Plain(initial_sae(SplitRecipe(init="random", d_sae=d_sae), D_MODEL).to(lm.device))
    buffer = torch.empty(32 * batch, D_MODEL, device=lm.device)
    at, row = len(buffer), 0

    def refill() -> None:
        nonlocal row
        have = 0
        while have < len(buffer):
            x = activations(hooked, RandomRows().read(row, 64), bos=True).flatten(0, 1).float()
            part = buffer[have : have + len(x)]
            part.copy_(x[: len(part)])
            have, row = have + len(x), row + 64
        buffer.copy_(buffer[torch.randperm(len(buffer), device=lm.device)])

    def step() -> None:
        nonlocal at
        with torch.autocast(lm.device.type, torch.bfloat16, enabled=autocast):
            if at == len(buffer):
                refill()
                at = 0
            sae.step(buffer[at : at + batch])
        at += batch

    return rate(lm.device, step, steps, batch)


def whole_split(tokens: int, device: str = "cuda:0", **values: object) -> float:
    """Seconds of a run of its own process over a token table, with a filter that keeps about 72 % of rows."""
    import datasets

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lm = language_model()
        lm.model.save(folder / "lm", torch.float32)
        lm.tokenizer.save(folder / "lm" / "tokenizer.json")
        checked.record(folder / "lm", "the benchmark's model")
        sae = sparse_sae(lm, RandomRows())  # each feature fires on 1 % of tokens
        narrow = replace(
            sae,
            W_enc=sae.W_enc[:, :NARROW].contiguous(),
            b_enc=sae.b_enc[:NARROW].clone(),
            W_dec=sae.W_dec[:NARROW].clone(),
            metadata=SAEMetadata(hook_name=HOOK_NAME),
        )
        save_saelens(narrow, folder / "narrow")
        rows = RandomRows().read(0, int(1.1 * tokens / 0.7 / (SEQ_LEN - 1)) + 64)
        table = datasets.Dataset.from_dict({"tokens": list(rows.astype(np.int32))})
        table.save_to_disk(str(folder / "data"))
        setup = Setup(
            str(folder / "lm"), HOOK_NAME, str(folder / "narrow"), str(folder / "data"), SEQ_LEN, device
        )
        usual = {
            "threshold": 0.0, "tokens": tokens, "dtype": "bfloat16", "checkpoint_every": tokens,
            "eval_every": tokens,
        }  # fmt: skip
        run = create_run(folder / "runs", "split", setup, SplitRecipe.from_dict(usual | values))
        begun = time.perf_counter()
        launch(run)
        end = follow(run, lambda record: None)
        seconds = time.perf_counter() - begun
        if end.state != "finished":
            raise SystemExit(f"the split {end.state}: {end.message}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
