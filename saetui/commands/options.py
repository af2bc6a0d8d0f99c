"""Options that several sub-commands share."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from saetui.errors import UsageError
from saetui.setup import Setup
from saetui.split.defaults import split_limits

_SETUP = (
    click.option(
        "--model",
        default="real",
        show_default=True,
        help="embedded world (real, synthetic), gelu-1l, hub name or folder",
    ),
    click.option("--hook", "hook_name", default="", help="hook point  [default: what the SAE says]"),
    click.option(
        "--sae", default="", help="narrow SAE: folder, file or hub path  [default: the world's own]"
    ),
    click.option("--dataset", default="", help="hub name, file or folder  [default: the world's own corpus]"),
    click.option("--seq-len", type=int, default=None, help="tokens in a row, BOS included"),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="auto, cpu, cuda:1 … or several: cuda:0,cuda:1",
    ),
)


def setup_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--model --hook --sae --dataset --seq-len --device``; the command gets ``setup: Setup``."""

    @wraps(command)
    def with_setup(
        *args: Any,
        model: str,
        hook_name: str,
        sae: str,
        dataset: str,
        seq_len: int | None,
        device: str,
        **kwargs: Any,
    ) -> Any:
        setup = Setup(
            model=model, hook_name=hook_name, sae=sae, dataset=dataset, seq_len=seq_len, device=device
        )
        return command(*args, setup=setup, **kwargs)

    for option in reversed(_SETUP):
        with_setup = option(with_setup)
    return with_setup


json_option = click.option("--json", "as_json", is_flag=True, help="print JSON on stdout")
"""The command gets ``as_json: bool``."""


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--tokens`` and ``--agreement``; the command gets both under these names."""
    tokens = click.option(
        "--tokens",
        type=click.IntRange(1000),
        default=100_000,
        show_default=True,
        help="held-out tokens to read",
    )
    agreement = click.option(
        "--agreement",
        type=click.FloatRange(0, 1),
        default=0.5,
        show_default=True,
        help="from here on two children count as one",
    )
    return tokens(agreement(command))


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--limit NAME=NUMBER``; the command gets ``limits: SplitThresholds``, the settings' where it is
    not given."""

    @wraps(command)
    def with_limits(*args: Any, limit: tuple[str, ...], **kwargs: Any) -> Any:
        return command(*args, limits=split_limits(dict(map(_limit, limit))), **kwargs)

    return click.option(
        "--limit",
        multiple=True,
        metavar="NAME=NUMBER",
        help="where a word of the split report begins, e.g. precision=0.3 (`saetui settings` lists all); "
        "may be repeated",
    )(with_limits)


def _limit(text: str) -> tuple[str, Any]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        raise UsageError(f"--limit {text!r}: write NAME=NUMBER, as in precision=0.3") from None
