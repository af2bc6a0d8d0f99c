"""What a given loss costs, on real activations of an embedded world, in tokens and CPU seconds.

First: our trainer against the plain PyTorch loop (TransformerLens' hook, autograd), same recipe, same
batches. The loss to reach is what the plain loop has at its end, on held-out tokens; data and language model
are included in the time.

Second: axes I and III (narrow initialisation, filtered rows) against III alone and against all data. The loss
is on held-out tokens on which the target fires, and those to reach are what III has half-way and at its end.

    python -m benchmarks.time_to_loss [--world synthetic] [--world real] [--tokens 600000]
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from benchmarks import _results
from benchmarks.train_step import Plain
from saetui import embedded
from saetui.loading import load_lm, load_sae, open_rows
from saetui.sae.sae import SAE
from saetui.setup import Setup
from saetui.split.activations.data import ShuffledActivations
from saetui.split.activations.filtered import FilteredRows
from saetui.split.grafting.hot import gather_hot
from saetui.split.recipe import SplitRecipe
from saetui.split.training.init import initial_sae
from saetui.split.training.loss import sae_loss
from saetui.split.training.matmul import choose_matmul, use_matmul
from saetui.split.training.trainer import Trainer

HELD_OUT = 4096
POINTS = 20


@dataclass(frozen=True)
class Point:
    tokens: int
    cpu_s: float
    """Since the start, evaluations apart."""
    loss: float
    l0: float


def curve(
    tokens: int, batch: int, step: Callable[[], None], sae: Callable[[], SAE], x: Tensor, recipe: SplitRecipe
) -> list[Point]:
    """``POINTS`` losses on ``x`` along a training of ``tokens``."""
    found, used, trained = [], 0.0, 0
    for i in range(POINTS):
        begun = time.process_time()
        while trained < tokens * (i + 1) / POINTS:
            step()
            trained += batch
        used += time.process_time() - begun
        with torch.no_grad():
            now = sae()
            loss = float(sae_loss(now, x, x, recipe.l1_coeff, recipe).total)
            found.append(Point(trained, used, loss, float((now.encode(x) > 0).sum(1).double().mean())))
    return found


def reached(points: list[Point], loss: float) -> Point | None:
    """The first point at ``loss``, to a thousandth: two trainings of one recipe end that near each other."""
    return next((point for point in points if point.loss <= 1.001 * loss), None)


def show(name: str, points: list[Point], goal: float, base: Point) -> None:
    at = reached(points, goal)
    last = points[-1]
    head = f"  {name:22} loss {last.loss:8.3f} at the end (L0 {last.l0:5.1f})"
    if at is None:
        print(f"{head}; {goal:.3f} not reached")
        return
    print(
        f"{head}; {goal:.3f} after {at.tokens:9,} tokens, {at.cpu_s:7.1f} CPU s "
        f"({base.tokens / at.tokens:.2f}× fewer tokens, {base.cpu_s / at.cpu_s:.2f}× less time)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--world", choices=embedded.WORLDS, action="append", help="both, if none is named")
    parser.add_argument("--tokens", type=int, default=600_000, help="of each training")
    options = parser.parse_args()
    results = {name: compare(name, options.tokens) for name in options.world or embedded.WORLDS[::-1]}
    _results.store("time_to_loss", results)
    return 0


def compare(name: str, tokens: int) -> dict[str, list[dict[str, float]]]:
    """Prints both comparisons on the world ``name`` and gives back their curves."""
    world, setup = embedded.world(name), Setup(model=name, device="cpu")
    lm, narrow = load_lm(setup), load_sae(setup)
    train, held_out = (open_rows(setup, lm.tokenizer, split) for split in ("train", "eval"))
    # No schedules: the plain loop has none. The loss is the standard one, which all can be compared on.
    base = SplitRecipe.from_dict(
        {
            **world.split, "target": world.target, "threshold": world.threshold, "loss": "standard",
            "init": "random", "data": "all", "new_rows_scale": 1.0, "tokens": tokens,
            "lr_warmup_steps": 0, "lr_decay": 0.0, "l1_warmup": 0.0, "buffer_passes": 1,
        }
    )  # fmt: skip
    batch = base.batch_size

    def ours(recipe: SplitRecipe, x: Tensor) -> list[Point]:
        choose_matmul(min(batch, 2048), lm.d_in, recipe.d_sae)
        source = ShuffledActivations(FilteredRows(lm, train, recipe, narrow), recipe, narrow)
        trainer = Trainer(recipe, source, lm.d_in, narrow)
        return curve(tokens, batch, trainer.advance, trainer.sae, x, recipe)

    def plain(recipe: SplitRecipe, x: Tensor) -> list[Point]:
        from saetui.lm.bridge import BridgeModel, boot_one_layer
        from saetui.lm.one_layer import OneLayer

        use_matmul("default")
        hooked = boot_one_layer(OneLayer.load(world.lm), "cpu", process=False)
        theirs = BridgeModel(hooked, lm.tokenizer, lm.name, lm.hook_name, "cpu")
        source = ShuffledActivations(FilteredRows(theirs, train, recipe, narrow), recipe, narrow)
        loop = Plain(initial_sae(recipe, lm.d_in), lr=recipe.lr, l1_coeff=recipe.l1_coeff)

        def sae() -> SAE:
            # Its decoder is normalised before each step, so that after one it is a step away from norm 1.
            W_dec = loop.W_dec / loop.W_dec.norm(dim=1, keepdim=True)
            return SAE(loop.W_enc, loop.b_enc, W_dec, loop.b_dec)

        return curve(tokens, batch, lambda: loop.step(source.next(batch)), sae, x, recipe)

    everywhere = FilteredRows(lm, held_out, base).read(0).x[:HELD_OUT].float()
    theirs, mine = plain(base, everywhere), ours(base, everywhere)
    goal = theirs[-1].loss
    print(f"{name}: {lm.d_in} → {base.d_sae}, batch {batch}; held-out loss, {len(everywhere)} tokens")
    show("plain loop", theirs, goal, theirs[-1])
    show("ours", mine, goal, theirs[-1])

    hot = gather_hot(lm, held_out, narrow, world.target, world.threshold, HELD_OUT, 4_000_000).x
    filtered = replace(base, data="filtered", granularity="row")
    runs = {
        "III": ours(filtered, hot),
        "I + III": ours(replace(filtered, init="narrow"), hot),
        "all data": ours(base, hot),
        "I, all data": ours(replace(base, init="narrow"), hot),
    }
    print(f"recipe; loss on {len(hot)} held-out tokens on which feature {world.target} fires")
    for when, base in (("half of", runs["III"][POINTS // 2 - 1]), ("all of", runs["III"][-1])):
        print(f" to the loss that III has after {when} its tokens")
        for kind, points in runs.items():
            show(kind, points, base.loss, base)
    curves = {"plain loop": theirs, "ours": mine, **runs}
    return {kind: [asdict(point) for point in points] for kind, points in curves.items()}


if __name__ == "__main__":
    sys.exit(main())
