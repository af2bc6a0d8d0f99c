"""Lets SAELens 6 itself write golden folders: run it in an environment with sae-lens (not saetui's).

``python tests/golden/make_saelens.py`` writes them. With folders as arguments it opens each with SAELens
instead and compares with the ``expected.safetensors`` in it: how our own writing was checked.
"""

import json
import sys
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parent
D_IN, D_SAE, K = 8, 16, 3


def make(name: str, sae: SAE, scale: float | None = None) -> None:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        if isinstance(sae, JumpReLUSAE):
            sae.threshold.abs_()
        x = torch.randn(5, D_IN, generator=generator)
        scaled = x * (scale or 1)  # SAELens' runner scales activations outside the SAE
        f = sae.encode(scaled)
        x_hat = sae.decode(f) / (scale or 1)
    folder = GOLDEN / f"saelens_{name}"
    sae.save_model(folder)
    if scale is not None:
        (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": scale}))
    save_file({"x": x, "f": f.contiguous(), "x_hat": x_hat.contiguous()}, folder / "expected.safetensors")


def common(**extra: object) -> dict:
    metadata = SAEMetadata(
        model_name="gelu-1l",
        hook_name="blocks.0.hook_mlp_out",
        context_size=128,
        prepend_bos=True,
        dataset_path="NeelNanda/c4-code-tokenized-2b",
        model_from_pretrained_kwargs={"center_writing_weights": True},
        l0=20.5,
    )
    return {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu", "metadata": metadata, **extra}


def check(folder: Path) -> None:
    expected = load_file(folder / "expected.safetensors")
    sae = SAE.load_from_disk(folder)
    with torch.no_grad():
        f = sae.encode(expected["x"])
        difference = max((f - expected["f"]).abs().max(), (sae.decode(f) - expected["x_hat"]).abs().max())
    hook_name = sae.cfg.metadata.hook_name
    sys.stdout.write(
        f"{folder.name}: {type(sae).__name__} {hook_name}, largest difference {difference:.1e}\n"
    )
    assert difference < 1e-5


if __name__ == "__main__":
    if sys.argv[1:]:
        for argument in sys.argv[1:]:
            check(Path(argument))
    else:
        make("standard", StandardSAE(StandardSAEConfig(**common())))
        make("standard_uncentred", StandardSAE(StandardSAEConfig(**common(apply_b_dec_to_input=False))))
        make(
            "standard_scaled",
            StandardSAE(StandardSAEConfig(**common(normalize_activations="expected_average_only_in"))),
            scale=0.37,
        )
        make("topk", TopKSAE(TopKSAEConfig(**common(k=K))))
        make("topk_rescaled", TopKSAE(TopKSAEConfig(**common(k=K, rescale_acts_by_decoder_norm=True))))
        make("jumprelu", JumpReLUSAE(JumpReLUSAEConfig(**common())))
