"""What the launch form says of a recipe: what it works through and keeps, the disk it takes, the command."""

from dataclasses import dataclass, fields
from typing import Any

from saetui import settings
from saetui.features.results import Kept
from saetui.quantities import duration, percent, short, size
from saetui.runs.cost import Pace
from saetui.setup import Setup
from saetui.split.activations.disk import activation_bytes, free_bytes, run_bytes
from saetui.split.memory import available_memory, run_memory
from saetui.split.pace import Trial
from saetui.split.recipe import GraftRecipe, SplitRecipe
from saetui.tui.shell_words import command as command_line
from saetui.tui.shell_words import setup_words

Recipe = SplitRecipe | GraftRecipe


def filters(recipe: Recipe) -> bool:
    """Whether it trains on what the target fires on."""
    return isinstance(recipe, GraftRecipe) or recipe.data == "filtered"


def costs(recipe: Recipe) -> str:
    """What the recipe will work through."""
    if isinstance(recipe, GraftRecipe):
        return f"{recipe.steps:,} steps of {recipe.batch_size:,} tokens"
    steps = -(-recipe.tokens // recipe.batch_size)
    return f"{recipe.tokens:,} tokens in {steps:,} steps of {recipe.batch_size:,}"


def text_tokens(recipe: SplitRecipe, kept: Kept | str) -> float | None:
    """Tokens of text that are read for the recipe; None as long as it is not known what the filter keeps."""
    fresh = recipe.tokens / recipe.buffer_passes
    if not filters(recipe):
        return fresh
    if recipe.granularity == "mixed":
        return fresh * (1 - recipe.mixed_share)
    share = 0.0 if isinstance(kept, str) else _kept_share(recipe, kept)
    return fresh / share if share else None


def text_line(recipe: SplitRecipe, kept: Kept | str) -> str:
    """Where the tokens come from; empty as long as that is not known."""
    if (text := text_tokens(recipe, kept)) is None:
        return ""
    about = "about " if recipe.data == "filtered" and recipe.granularity == "mixed" else ""
    read = f"text: {about}{short(text)} tokens are read"
    if filters(recipe) and not about:
        read += f", {short(recipe.tokens / recipe.buffer_passes)} of them kept"
    return f"{read}, each trained on {recipe.buffer_passes} times" if recipe.buffer_passes > 1 else read


def time_line(recipe: SplitRecipe, known: Pace | Trial | None, kept: Kept | str) -> str:
    """How long it will take: by an earlier run, a guess where that had another width; else a guess by a few
    steps tried out. Empty where nothing is known."""
    if isinstance(known, Pace):
        took = duration(known.seconds(recipe.tokens, recipe.d_sae))
        if known.d_sae == recipe.d_sae:
            return f"time: about {took}, by the last run with {known.d_sae:,} features"
        return f"time: ~{took}, a guess by a run with {known.d_sae:,} features"
    text = text_tokens(recipe, kept)
    if known is None or text is None:
        return ""
    took = duration(known.seconds(recipe.tokens, text, recipe.l1_warmup))
    return f"time: ~{took}, a guess by a few steps tried here; the first run will tell"


def kept_line(recipe: Recipe, kept: Kept | str, threshold: float) -> str:
    """What the filter keeps of the text, by the granularity; ``kept`` may be why that is not known."""
    if isinstance(kept, str):
        return f"filter: {kept or 'counting what it keeps …'}"
    read = f"({short(kept.tokens_read)} read)"
    if not kept.tokens:
        return f"filter: keeps NOTHING: no token is above {threshold:g} {read}"
    above = f"above {threshold:g} {read}"
    tokens = percent(kept.tokens)
    if isinstance(recipe, GraftRecipe) or recipe.granularity == "token":
        return f"filter: keeps {tokens} of tokens, those {above}"
    if recipe.granularity == "mixed":
        return f"filter: {percent(recipe.mixed_share)} of the stream is from {tokens} of tokens {above}"
    return f"filter: keeps {percent(kept.rows)} of rows, for {tokens} of tokens {above}"


def _kept_share(recipe: SplitRecipe, kept: Kept) -> float:
    return kept.rows if recipe.granularity == "row" else kept.tokens


@dataclass(frozen=True)
class Free:
    """Bytes: free where runs and where activations are kept, the most that activations may take, and memory
    where that is known."""

    runs: int
    cache: int
    cache_limit: int
    memory: int | None = None


def free_space() -> Free:
    """OSError where a file system is away."""
    limit = int(settings.load_settings().cache_gb * 1e9 / 2)
    runs, cache = free_bytes(settings.runs_root()), free_bytes(settings.cache_root())
    return Free(runs, cache, limit, available_memory())


def disk_line(recipe: SplitRecipe, d_in: int, free: Free) -> str:
    """What the run's folder and the cache of activations will take, and what there is."""
    run = run_bytes(recipe, d_in)
    kept = min(activation_bytes(recipe, d_in), free.cache_limit)
    needed = f"up to {size(run)}" + (f", {size(kept)} in the cache" if kept else "")
    line = f"disk: {needed}; {size(min(free.runs, free.cache))} free"
    return f"NOT ENOUGH {line}" if run > free.runs else line


def machine_lines(recipe: SplitRecipe, d_in: int, device: str, free: Free) -> list[str]:
    """The disk that it takes and, on the CPU, the memory where there is not enough."""
    lines, needed = [disk_line(recipe, d_in, free)], run_memory(recipe, d_in)
    if device == "cpu" and free.memory is not None and needed > free.memory:
        lines.append(f"NOT ENOUGH memory: about {size(needed)}; {size(free.memory)} free")
    return lines


def shell_command(setup: Setup, recipe: Recipe, defaults: Recipe) -> str:
    """The command that launches the same run, naming what it would not take by itself."""
    split = isinstance(recipe, SplitRecipe)
    words = ["split" if split else "graft", *setup_words(setup)]
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if f.name not in ("target", "d_sae") and value == getattr(defaults, f.name):
            continue
        flag = f.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", shown(value)]
    return command_line(*words, *(["--detach"] if split else []))


def shown(value: Any) -> str:
    """A value as it stands in the form and in the command."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)
