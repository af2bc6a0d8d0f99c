"""The memory that a split run takes, known before it begins. No torch: the launch form asks."""

from pathlib import Path

from saetui.split.recipe import SplitRecipe


def training_bytes(recipe: SplitRecipe, d_in: int) -> int:
    """Bytes of weights, gradients and Adam's two moments, in fp32."""
    return 4 * 4 * (2 * recipe.d_sae * d_in + recipe.d_sae + d_in)


def run_memory(recipe: SplitRecipe, d_in: int) -> int:
    """The same, with the shuffle buffer in fp16 and its order, and a dense step's two ``[batch, d_sae]``."""
    buffer = recipe.buffer_tokens * (2 * d_in + 8)
    width = 2 if recipe.dtype == "bfloat16" else 4
    return training_bytes(recipe, d_in) + buffer + 2 * width * recipe.batch_size * recipe.d_sae


def available_memory() -> int | None:
    """Bytes that a new process may fill; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None
