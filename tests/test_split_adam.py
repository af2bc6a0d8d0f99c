"""The fused Adam against torch's own class, and what it is for."""

import subprocess
import sys

import torch

from saetui.split.training.adam import FusedAdam


def test_same_bits_as_torch():
    torch.manual_seed(0)
    ours = [torch.randn(7, 5), torch.randn(5)]
    theirs = [weight.clone().requires_grad_() for weight in ours]
    adam = torch.optim.Adam(theirs, betas=(0.9, 0.99), fused=True)
    grads = [torch.zeros_like(weight) for weight in ours]
    fused = FusedAdam(ours, grads, (0.9, 0.99))
    for step in range(6):
        for grad, other in zip(grads, theirs, strict=True):
            grad.copy_(torch.randn_like(grad))
            other.grad = grad.clone()
        adam.param_groups[0]["lr"] = 0.1 / (step + 1)
        adam.step()
        fused.step(0.1 / (step + 1))
        for own, other in zip(ours, theirs, strict=True):
            assert torch.equal(own, other.detach())
            for name, value in fused.state[own].items():
                assert torch.equal(value, adam.state[other][name])


def test_imports_no_compiler():
    program = (
        "import sys, torch\n"
        "from saetui.sae.sae import SAE\n"
        "from saetui.split.training.step import TrainStep\n"
        "sae = SAE(torch.ones(4, 6), torch.zeros(6), torch.ones(6, 4), torch.zeros(4))\n"
        "x = torch.ones(8, 4)\n"
        "TrainStep(sae, batch_size=8)(x, x, lr=1e-3, l1_coeff=0.1)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
