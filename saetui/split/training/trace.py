"""Watching the target being replaced: its activation and the strongest features on probe prompts, as the
training goes on. The seed saw the target win for the first batches and others take over; this is the record.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saetui.lm.base import LanguageModel
from saetui.split.recipe import SplitRecipe

TOP = 5


@dataclass(frozen=True)
class Trace:
    """Probe prompts, each with the activations ``x [prompts, d_in]`` at its probe token: its last."""

    prompts: list[str]
    tokens: list[str]
    x: Tensor
    target: int | None
    """The target's index in the wide SAE; None where no feature of it began as the target."""

    @classmethod
    def of(cls, lm: LanguageModel, prompts: list[str], recipe: SplitRecipe) -> "Trace":
        """Reads the activations; prompts that are empty or too long for the model are left out."""
        bos = [] if lm.tokenizer.bos_token_id is None else [lm.tokenizer.bos_token_id]
        kept, tokens, rows = [], [], []
        for prompt in prompts:
            ids = lm.tokenizer.encode(prompt)
            if ids and len(bos) + len(ids) <= lm.n_ctx:
                kept.append(prompt)
                tokens.append(lm.tokenizer.token_str(ids[-1]))
                rows.append(lm.activations(torch.tensor([bos + ids], device=lm.device))[0, -1])
        x = torch.stack(rows) if rows else torch.empty(0, lm.d_in, device=lm.device)
        return cls(kept, tokens, x, None if recipe.init == "random" else recipe.target)

    def record(self, f: Tensor) -> list[dict[str, Any]]:
        """``f [prompts, d_sae]``, the activations of ``x``, as the metrics' ``probes``: ``target`` is the
        target's activation, ``top`` the strongest features with theirs."""
        best = f.topk(min(TOP, f.shape[1]), dim=1)
        target = f[:, self.target].tolist() if self.target is not None else [None] * len(self.prompts)
        return [
            {
                "prompt": prompt,
                "token": token,
                "target": own,
                "top": [[i, a] for i, a in zip(features, values, strict=True) if a > 0],
            }
            for prompt, token, own, features, values in zip(
                self.prompts, self.tokens, target, best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]


def next_record(step: int) -> int:
    """The step at which to record next: every one at first, then in growing intervals of a fifth."""
    return max(step + 1, step * 6 // 5)
