"""Prompt probe: what fires on every token of a prompt."""

from collections.abc import Sequence

import torch

from saetui.errors import UsageError
from saetui.features.encoder import Encoder, check_feature
from saetui.features.results import FeatureActivation, PromptProbe, TokenProbe
from saetui.lm.base import LanguageModel


def prompt_tokens(lm: LanguageModel, prompt: str) -> list[int]:
    """Tokens of a prompt, with the BOS that every row of the corpus begins with (where there is one).

    UsageError for a prompt of zero tokens or of more than the model takes.
    """
    tokens = lm.tokenizer.encode(prompt)
    bos = lm.tokenizer.bos_token_id
    room = lm.n_ctx - (bos is not None)
    if not tokens:
        raise UsageError("the prompt has no tokens: give it at least one character")
    if len(tokens) > room:
        raise UsageError(
            f"the prompt has {len(tokens)} tokens, {lm.name} takes {room}: shorten it by {len(tokens) - room}"
        )
    return tokens if bos is None else [bos, *tokens]


@torch.inference_mode()
def probe(
    lm: LanguageModel,
    encoder: Encoder,
    prompt: str,
    top: int = 5,
    follow: Sequence[int] = (),
    name: str = "narrow",
) -> PromptProbe:
    """The ``top`` strongest features on every token of ``prompt``, and the activations of ``follow``.

    BOS is the first token of the answer, marked as such: its activations are the same for every prompt
    and count in no statistic. ``name`` is what the answer calls the encoder.
    """
    for feature in follow:
        check_feature(encoder, feature, name)
    tokens = prompt_tokens(lm, prompt)
    f = encoder.encode(lm.activations(torch.tensor([tokens], device=lm.device)))[0]  # [seq, d_sae]
    best = f.topk(min(max(top, 2), encoder.d_sae), dim=-1)
    values, features = best.values.tolist(), best.indices.tolist()
    l0 = (f > 0).sum(-1).tolist()
    followed = f[:, list(follow)].tolist()
    return PromptProbe(
        prompt=prompt,
        sae=name,
        tokens=[
            TokenProbe(
                position=position,
                text=lm.tokenizer.token_str(token),
                top=[
                    FeatureActivation(feature, value)
                    for feature, value in zip(features[position][:top], values[position], strict=False)
                    if value > 0
                ],
                margin=_margin(values[position]),
                followed=[
                    FeatureActivation(feature, value)
                    for feature, value in zip(follow, followed[position], strict=True)
                ],
                l0=l0[position],
                bos=position == 0 and token == lm.tokenizer.bos_token_id,
            )
            for position, token in enumerate(tokens)
        ],
    )


def _margin(strongest: list[float]) -> float | None:
    first, second = strongest[0], strongest[1] if len(strongest) > 1 else 0.0
    return 1 - second / first if first > 0 else None
