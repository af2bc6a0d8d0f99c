"""SAELens' own store and trainer on the same work, by an interpreter that has SAELens:

    PYTHON benchmarks/_saelens.py VARIANT CORES STEPS

Its training loop without the logging, checkpoints and evaluations around it. The random model has no
tokenizer; nothing is prepended to rows, which are of the right length.
"""

# pyright: reportMissingImports=false, reportCallIssue=false, reportAttributeAccessIssue=false
# (another environment's packages)

import logging
import os
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks._measure import BATCH, D_MODEL, D_SAE, D_VOCAB, SEQ_LEN, Split, pin, report


def main() -> None:
    variant, cores, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pin(cores)
    os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "TQDM_DISABLE": "1"}
    warnings.simplefilter("ignore")
    import numpy as np
    from datasets import Dataset
    from sae_lens import (
        LanguageModelSAERunnerConfig,
        LanguageModelSAETrainingRunner,
        LoggingConfig,
        StandardTrainingSAEConfig,
    )
    from sae_lens.training.sae_trainer import SAETrainer
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    logging.disable(logging.WARNING)
    model = HookedTransformer(
        HookedTransformerConfig(
            n_layers=1, d_model=D_MODEL, n_heads=8, d_head=64, d_mlp=4 * D_MODEL, n_ctx=1024,
            d_vocab=D_VOCAB, act_fn="gelu", normalization_type="LN", device="cpu", seed=0,
        )
    )  # fmt: skip
    tokens = np.random.default_rng(0).integers(1, D_VOCAB, (4 * steps * BATCH // SEQ_LEN, SEQ_LEN))
    autocast = variant.endswith("autocast")
    config = LanguageModelSAERunnerConfig(
        sae=StandardTrainingSAEConfig(d_in=D_MODEL, d_sae=D_SAE, l1_coefficient=1.2, device="cpu"),
        hook_name="blocks.0.hook_mlp_out",
        context_size=SEQ_LEN,
        n_batches_in_buffer=steps * BATCH // SEQ_LEN,
        training_tokens=4 * steps * BATCH,
        train_batch_size_tokens=BATCH,
        store_batch_size_prompts=32,
        prepend_bos=False,
        sequence_separator_token=None,
        streaming=False,
        device="cpu",
        lr=1e-4,
        adam_beta2=0.99,
        autocast=autocast,
        autocast_lm=autocast,
        checkpoint_path=None,
        output_path=None,
        verbose=False,
        logger=LoggingConfig(log_to_wandb=False),
    )
    data = Dataset.from_dict({"tokens": tokens})
    runner = LanguageModelSAETrainingRunner(config, override_dataset=data, override_model=model)
    store = runner.activations_store
    trainer = SAETrainer(
        cfg=config.to_sae_trainer_config(), sae=runner.sae, data_provider=store, evaluator=None
    )
    split = Split()

    def train(count: int) -> None:
        for _ in range(count):
            batch = split.on_data(lambda: next(store))
            trainer.maybe_reset_sparsity()
            trainer.step(batch)
            trainer.n_training_steps += 1

    train(steps // 2)
    before = trainer.n_training_steps
    report(split.measure(variant, lambda: train(steps), lambda: (trainer.n_training_steps - before) * BATCH))


if __name__ == "__main__":
    main()
