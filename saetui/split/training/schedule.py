"""What changes with the step: the learning rate and the L1 coefficient."""

from saetui.split.recipe import SplitRecipe


def total_steps(recipe: SplitRecipe) -> int:
    """Steps that train on at least ``recipe.tokens`` tokens."""
    return -(-recipe.tokens // recipe.batch_size)


def learning_rate(recipe: SplitRecipe, step: int) -> float:
    """Learning rate of step ``step`` (from 0): a linear rise over ``lr_warmup_steps``, then ``lr``, and over
    the last ``lr_decay`` share of the run a linear fall to 5 %."""
    rise = min(1.0, (step + 1) / (recipe.lr_warmup_steps + 1))
    steps = total_steps(recipe)
    falling = recipe.lr_decay * steps
    left = steps - step
    fall = 1.0 if left >= falling else 0.05 + 0.95 * left / falling
    return recipe.lr * min(rise, fall)


def rising_share(step: int, steps: int, warmup: float) -> float:
    """Linear rise from 0 to 1 over the first ``warmup`` share of ``steps``."""
    rising = warmup * steps
    return 1.0 if step >= rising else step / rising


def l1_coefficient(recipe: SplitRecipe, step: int) -> float:
    """L1 coefficient of step ``step`` (from 0). The rise keeps the dictionary alive: a random one is so
    dense that the full coefficient would kill most of it in the first hundred steps."""
    return recipe.l1_coeff * rising_share(step, total_steps(recipe), recipe.l1_warmup)
