"""Writes the golden SAE files of this folder that need no other library: ``python tests/golden/make.py``.

Every folder has ``expected.safetensors``: inputs ``x``, feature activations ``f`` and reconstructions
``x_hat``, computed here by each format's own definition, in fp64 and without saetui. The SAELens folders
come from ``make_saelens.py``, which lets SAELens write and compute them; dictionary-learning 0.1.0
computes what is written here to 2e-6.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

GOLDEN = Path(__file__).parent
D_IN, D_SAE, K = 8, 16, 3


def weights(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "W_enc": torch.randn(D_IN, D_SAE, generator=generator) * 0.4,
        "b_enc": torch.randn(D_SAE, generator=generator) * 0.2,
        "W_dec": torch.randn(D_SAE, D_IN, generator=generator),
        "b_dec": torch.randn(D_IN, generator=generator) * 0.5,
        "x": torch.randn(5, D_IN, generator=generator),
    }


def expect(folder: Path, x: Tensor, f: Tensor, W_dec: Tensor, b_dec: Tensor) -> None:
    x_hat = f @ W_dec.double() + b_dec.double()
    save_file({"x": x, "f": f.float(), "x_hat": x_hat.float()}, folder / "expected.safetensors")


def pre_activations(w: dict[str, Tensor], subtract_b_dec: bool) -> Tensor:
    x = w["x"].double() - (w["b_dec"].double() if subtract_b_dec else 0)
    return x @ w["W_enc"].double() + w["b_enc"].double()


def top(f: Tensor, k: int) -> Tensor:
    values, indices = f.topk(k, dim=-1)
    return torch.zeros_like(f).scatter_(-1, indices, values)


def neel() -> None:
    folder = GOLDEN / "neel"
    folder.mkdir(exist_ok=True)
    w = weights(1)
    x = w.pop("x")
    torch.save(w, folder / "47.pt")
    config = {
        "seed": 49, "batch_size": 4096, "buffer_mult": 384, "lr": 1e-4, "num_tokens": 2_000_000_000,
        "l1_coeff": 3e-4, "beta1": 0.9, "beta2": 0.99, "dict_mult": 2, "seq_len": 128, "enc_dtype": "fp32",
        "remove_rare_dir": False, "model_name": "gelu-1l", "site": "mlp_out", "layer": 0, "device": "cuda:0",
        "act_name": "blocks.0.hook_mlp_out", "act_size": D_IN, "dict_size": D_SAE,
        "name": "gelu-1l_0_16_mlp_out",
    }  # fmt: skip
    (folder / "47_cfg.json").write_text(json.dumps(config))
    expect(folder, x, pre_activations({**w, "x": x}, True).relu(), w["W_dec"], w["b_dec"])


def dictionary_learning(kind: str, seed: int) -> None:
    folder = GOLDEN / f"dictionary_learning_{kind}"
    folder.mkdir(exist_ok=True)
    w = weights(seed)
    linear = {
        "encoder.weight": w["W_enc"].T.contiguous(),
        "encoder.bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T.contiguous(),
    }
    threshold = torch.tensor(0.3)
    extra: dict[str, object] = {}
    if kind == "AutoEncoder":
        state = {**linear, "bias": w["b_dec"]}
        norms = w["W_dec"].double().norm(dim=1)  # the library folds them into the encoder when it loads
        f = pre_activations(w, True).relu() * norms
        w["W_dec"] = w["W_dec"].double() / norms[:, None]
    elif kind == "AutoEncoderNew":
        state, f = {**linear, "decoder.bias": w["b_dec"]}, pre_activations(w, False).relu()
    elif kind == "AutoEncoderTopK":
        state = {**linear, "b_dec": w["b_dec"], "k": torch.tensor(K, dtype=torch.int), "threshold": threshold}
        f, extra = top(pre_activations(w, True).relu(), K), {"k": K}
    elif kind == "BatchTopKSAE":
        state = {**linear, "b_dec": w["b_dec"], "k": torch.tensor(K, dtype=torch.int), "threshold": threshold}
        f = pre_activations(w, True).relu()
        f, extra = f * (f > threshold.double()), {"k": K}
    else:  # JumpReluAutoEncoder
        thresholds = torch.linspace(0, 0.6, D_SAE)
        state = {name: w[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")} | {"threshold": thresholds}
        pre = pre_activations(w, False)
        f = (pre * (pre > thresholds.double())).relu()
    torch.save(state, folder / "ae.pt")
    trainer = {
        "dict_class": kind, "trainer_class": "Trainer", "activation_dim": D_IN, "dict_size": D_SAE, 
        "lr": 1e-3, "seed": 0, "device": "cuda:0", "layer": 3, "lm_name": "EleutherAI/pythia-70m-deduped",
        "wandb_name": kind, "submodule_name": "resid_post_layer_3", **extra,
    }  # fmt: skip
    buffer = {"d_submodule": D_IN, "io": "out", "n_ctxs": 100, "ctx_len": 128, "device": "cuda:0"}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": buffer}))
    expect(folder, w["x"], f, w["W_dec"], w["b_dec"])


def saelens_before_6() -> None:
    """The flat ``cfg.json`` of SAELens 5 and earlier, with a TopK that does not subtract ``b_dec``."""
    folder = GOLDEN / "saelens_before_6"
    folder.mkdir(exist_ok=True)
    w = weights(7)
    x = w.pop("x")
    save_file(w, folder / "sae_weights.safetensors")
    config = {
        "architecture": "standard", "d_in": D_IN, "d_sae": D_SAE, "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K}, "apply_b_dec_to_input": False, "finetuning_scaling_factor": False,
        "context_size": 128, "model_name": "gpt2-small", "hook_point": "blocks.8.hook_resid_pre",
        "hook_layer": 8, "prepend_bos": True,
        "dataset_path": "Skylion007/openwebtext", "dtype": "torch.float32",
        "normalize_activations": None, "sae_lens_training_version": "3.20.0",
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    expect(folder, x, top(pre_activations({**w, "x": x}, False).relu(), K), w["W_dec"], w["b_dec"])


if __name__ == "__main__":
    neel()
    kinds = ("AutoEncoder", "AutoEncoderTopK", "BatchTopKSAE", "JumpReluAutoEncoder", "AutoEncoderNew")
    for number, kind in enumerate(kinds):
        dictionary_learning(kind, seed=2 + number)
    saelens_before_6()
