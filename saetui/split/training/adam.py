"""Adam by torch's fused kernel.

The same update, state and bits as ``torch.optim.Adam(fused=True)``, whose class imports torch's compiler when
it is first used: seconds that a person who grafts a feature would wait for.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class FusedAdam:
    """Updates ``weights`` in place from ``grads``, tensors that somebody fills before each step.

    ``state`` holds, by weight, ``step`` (0-d), ``exp_avg`` and ``exp_avg_sq``, from the beginning on, so that
    a checkpoint can be loaded into it.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        grads: Sequence[Tensor],
        betas: tuple[float, float],
        eps: float = 1e-8,
    ) -> None:
        self.weights, self.grads = list(weights), list(grads)
        self.betas, self.eps = betas, eps
        self.state = {
            weight: {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }
            for weight in self.weights
        }

    @torch.no_grad()
    def step(self, lr: float | Tensor) -> None:
        """One update of every weight; ``lr`` may be 0-d, on the weights' device."""
        states = [self.state[weight] for weight in self.weights]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)  # pyright: ignore[reportPrivateImportUsage]
        torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
            self.weights,
            self.grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )
