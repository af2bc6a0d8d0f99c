"""One training pipeline in a process of its own: ``python -m benchmarks._pipelines VARIANT CORES STEPS``.

Random weights and tokens: dense rates do not depend on them. The sparse SAE is one whose biases leave
``L0`` features active on a token. Our learning rate is nil, so that a sparse SAE stays so, and a dense one
dense. What is measured are whole cycles, from one full buffer to the next: as many tokens through the
language model as are trained on.
"""

import sys
import time
from dataclasses import replace

from benchmarks._measure import (
    BATCH,
    D_MODEL,
    D_SAE,
    LM_FLOPS,
    SEQ_LEN,
    Rates,
    Split,
    pin,
    report,
)

L0 = 32
DENSE = 10 * D_MODEL * D_SAE
AUTOGRAD = 12 * D_MODEL * D_SAE
SCREEN = 2 * D_MODEL * D_SAE
ACTIVE = 10 * D_MODEL * L0
"""Encoding, decoding and three gradients of the active features alone."""

OURS = {
    f"ours{', bf16' * (dtype != 'float32')}{', cached' * cached}{', sparse' * sparse}": (
        dtype,
        sparse,
        cached,
    )
    for dtype in ("float32", "bfloat16")
    for cached in (False, True)
    for sparse in (False, True)
}
"""dtype of the dense products, whether the SAE is sparse, whether the activations are on disk."""


def main() -> None:
    variant, cores, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pin(cores)
    report(ours(variant, steps) if variant in OURS else plain(variant, steps))


def ours(variant: str, steps: int) -> Rates:
    import torch

    from benchmarks.queries import RandomRows, language_model
    from benchmarks.train_step import with_l0
    from saetui.lm.streaming import streaming
    from saetui.split.activations.activation_cache import ActivationCache
    from saetui.split.activations.data import Poll, ShuffledActivations
    from saetui.split.activations.filtered import FilteredRows
    from saetui.split.recipe import SplitRecipe
    from saetui.split.training.init import initial_sae
    from saetui.split.training.matmul import choose_matmul
    from saetui.split.training.sparse import choose_sparse_engine
    from saetui.split.training.trainer import Trainer

    dtype, sparse, cached = OURS[variant]
    choose_matmul(BATCH, D_MODEL, D_SAE)
    recipe = SplitRecipe.from_dict(
        {
            "init": "random", "data": "all", "d_sae": D_SAE, "batch_size": BATCH, "tokens": 8 * steps * BATCH,
            "buffer_tokens": steps * BATCH, "lr": 1e-12, "dtype": dtype,
        }
    )  # fmt: skip
    split = Split()

    class Timed(ShuffledActivations):
        def next(self, n: int, poll: Poll = lambda read: None) -> torch.Tensor:
            return split.on_data(lambda: super(Timed, self).next(n, poll))

    # As in a run of the seed's length.
    lm, said = streaming(language_model(), dtype, SplitRecipe().tokens)
    engine, also = choose_sparse_engine(D_MODEL, D_SAE)
    print(said, also, sep="\n", file=sys.stderr)
    # From the cache the same text is read over and over.
    rows = RandomRows(3 * steps * BATCH // SEQ_LEN) if cached else RandomRows()
    pieces = FilteredRows(lm, rows, recipe)
    if cached:
        pieces = ActivationCache(pieces, recipe)
        number = 0
        while pieces.read(number).rows == pieces.rows_per_piece:
            number += 1
    source = Timed(pieces, recipe)
    trainer = Trainer(recipe, source, D_MODEL, sparse_engine=engine)
    if sparse:
        x = pieces.read(0).x[:1024].float()
        trainer.core.b_enc.copy_(with_l0(initial_sae(recipe, D_MODEL), x, L0).b_enc)
        trainer.core.sparse = True

    def to_the_end_of_the_block() -> None:
        trainer.advance()
        while source.state().values["cursor"] + BATCH <= len(source.state().tensors["order"]):
            trainer.advance()

    for _ in range(3):  # the first blocks are smaller
        to_the_end_of_the_block()
    trainer.metrics()
    before = trainer.tokens
    rates = split.measure(variant, to_the_end_of_the_block, lambda: trainer.tokens - before)
    flops = {"float32": 0.0, "bfloat16": 0.0, "int8": 0.0}
    flops[dtype] += 0 if cached else LM_FLOPS
    if sparse:
        flops["int8" if engine.screened else "float32"] += SCREEN
        flops["float32"] += ACTIVE
    else:
        flops[dtype] += DENSE
    return replace(rates, l0=trainer.metrics()["l0"], flops=flops, matmul=products())


def plain(variant: str, steps: int) -> Rates:
    """The usual loop: TransformerLens' hook, a shuffled buffer refilled by halves, autograd."""
    import torch

    from benchmarks.queries import RandomRows, language_model
    from benchmarks.train_step import Plain
    from saetui.lm.bridge import BridgeModel, boot_one_layer
    from saetui.split.activations.filtered import activations
    from saetui.split.recipe import SplitRecipe
    from saetui.split.training.init import initial_sae

    direct, rows = language_model(), RandomRows()
    lm = BridgeModel(
        boot_one_layer(direct.model, "cpu", process=False),
        direct.tokenizer,
        "random",
        direct.hook_name,
        "cpu",
    )
    sae = Plain(initial_sae(SplitRecipe(init="random", d_sae=D_SAE), D_MODEL))
    bf16 = variant.endswith("autocast")
    buffer = torch.empty(steps * BATCH, D_MODEL)
    row = 0

    def refill(start: int) -> None:
        nonlocal row
        at = start
        while at < len(buffer):
            with torch.autocast("cpu", enabled=bf16):
                x = activations(lm, rows.read(row, 32), bos=True).flatten(0, 1).float()
            row += 32
            part = buffer[at : at + len(x)]
            part.copy_(x[: len(part)])
            at += len(x)
        buffer.copy_(buffer[torch.randperm(len(buffer))])

    split = Split()

    def half() -> None:
        nonlocal trained
        trained += (steps // 2) * BATCH
        for i in range(steps // 2):
            with torch.autocast("cpu", enabled=bf16):
                sae.step(buffer[i * BATCH : (i + 1) * BATCH])
        # What has been trained on comes first and is replaced.
        buffer.copy_(buffer.roll(-(steps // 2) * BATCH, 0))
        split.on_data(lambda: refill((steps - steps // 2) * BATCH))

    refill(0)
    sae.step(buffer[:BATCH])
    trained = 0
    rates = split.measure(variant, lambda: (half(), half()), lambda: trained)
    flops = {"bfloat16" if bf16 else "float32": float(AUTOGRAD + LM_FLOPS)}
    return replace(rates, flops=flops, matmul=products())


def products() -> dict[str, float]:
    """The best that torch's own products reach here: the machine's limit."""
    import torch

    from saetui.split.training.matmul import use_matmul
    from saetui.split.training.screen import integer_products

    best = {"float32": 0.0, "bfloat16": 0.0, "int8": 0.0}
    for engine in ("default", "onednn"):
        use_matmul(engine)
        for name in best:
            integer = name == "int8"
            a, b = (torch.randn(n, D_MODEL).mul(9).to(getattr(torch, name)) for n in (BATCH, D_SAE))
            product = torch.empty(BATCH, D_SAE, dtype=torch.int32 if integer else a.dtype)
            for _ in range(3):
                used = time.process_time()
                integer_products(a, b, product) if integer else torch.mm(a, b.T, out=product)
                rate = 2 * BATCH * D_MODEL * D_SAE / (time.process_time() - used)
                best[name] = max(best[name], rate)
    return best


if __name__ == "__main__":
    main()
