"""Equal functions with other weights: what a file format leaves to its reader is folded in here."""

from dataclasses import replace

import torch

from saetui.errors import UsageError
from saetui.sae.sae import SAE


def fold_W_dec_norm(sae: SAE) -> SAE:
    """The same reconstructions with decoder rows of norm 1; feature activations scale by the old norms.

    A threshold on an activation (2, say) means something only in one of the two scales. UsageError for
    TopK, where another scale makes other features win (unless all norms are equal).
    """
    norms = sae.W_dec.norm(dim=1)
    norms = torch.where(norms > 0, norms, 1.0)
    if sae.activation == "topk" and not torch.allclose(norms, norms[0].expand_as(norms), rtol=1e-4):
        raise UsageError(
            "decoder norms cannot be folded into a TopK SAE: other features would be its k largest"
        )
    return _scale_features(sae, norms)


def fold_W_dec_norm_of_rescaled_topk(sae: SAE) -> SAE:
    """The TopK SAE that chooses by ``pre * ‖W_dec[f]‖`` (SAELens' ``rescale_acts_by_decoder_norm``) as a
    plain one: with norms folded into the encoder, its choice is by the activation itself."""
    norms = sae.W_dec.norm(dim=1)
    return _scale_features(sae, torch.where(norms > 0, norms, 1.0))


def fold_input_scale(sae: SAE, scale: float) -> SAE:
    """An SAE of ``scale * x`` that returns ``x̂ / scale``, as an SAE of ``x``; feature activations stay."""
    return replace(sae, W_enc=sae.W_enc * scale, W_dec=sae.W_dec / scale, b_dec=sae.b_dec / scale)


def fold_uncentred_input(sae: SAE) -> SAE:
    """An SAE that encodes ``x @ W_enc + b_enc``, without subtracting ``b_dec``, in our convention."""
    return replace(sae, b_enc=sae.b_enc + sae.b_dec @ sae.W_enc)


def _scale_features(sae: SAE, norms: torch.Tensor) -> SAE:
    return replace(
        sae,
        W_enc=sae.W_enc * norms,
        b_enc=sae.b_enc * norms,
        W_dec=sae.W_dec / norms[:, None],
        threshold=None if sae.threshold is None else sae.threshold * norms,
    )
