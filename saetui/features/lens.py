"""Logit lens: which next tokens a feature speaks for and against."""

import torch

from saetui.errors import UsageError
from saetui.features.encoder import Encoder, check_feature
from saetui.features.results import Lens, TokenLogit
from saetui.lm.base import LanguageModel


@torch.inference_mode()
def lens(lm: LanguageModel, encoder: Encoder, feature: int, top: int = 10, name: str = "narrow") -> Lens:
    """``W_dec[f] @ W_U`` with its mean over the vocabulary taken off: the ``top`` highest and lowest.

    No LayerNorm scale and no ``b_U``: neither belongs to the feature. The same quantity as in the seed
    and on Neuronpedia wherever ``W_U`` is folded and centred. UsageError for a feature out of range and
    for a hook point that does not write to the residual stream.
    """
    check_feature(encoder, feature, name)
    W_U = lm.W_U
    if encoder.W_dec.shape[1] != W_U.shape[0]:
        raise UsageError(
            f"no logit lens at {lm.hook_name}: its {encoder.W_dec.shape[1]} dimensions are not the "
            f"residual stream's {W_U.shape[0]}"
        )
    logits = encoder.W_dec[feature].to(W_U) @ W_U
    logits = logits - logits.mean()
    k = min(top, logits.shape[0])
    return Lens(
        sae=name,
        feature=feature,
        boosted=_named(lm, logits.topk(k)),
        suppressed=_named(lm, logits.topk(k, largest=False)),
    )


def _named(lm: LanguageModel, best: torch.return_types.topk) -> list[TokenLogit]:
    return [
        TokenLogit(lm.tokenizer.token_str(token), logit)
        for logit, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
