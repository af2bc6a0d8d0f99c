"""What the engine and its client say to each other: one JSON document a line, without torch.

====================================================  =========================================
client to engine
====================================================  =========================================
``{"id": 3, "op": "probe", "args": {…}}``             a request
``{"cancel": 3}``                                     nobody waits for its answer any more
====================================================  =========================================

====================================================  =========================================
engine to client
====================================================  =========================================
``{"id": 3, "result": …}``                            the answer, of the type that ``OPERATIONS`` names
``{"id": 3, "error": "…", "kind": "usage"}``          one line instead; kinds: ``usage``, ``user``,
                                                      ``internal`` (a bug; the traceback is in the log),
                                                      ``cancelled``
``{"id": 3, "progress": 0.4, "message": "…"}``        before the answer; ``partial`` may carry results
``{"notice": "index", …}``                            unasked: ``hello``, ``index``, ``warning``, and
                                                      ``corpus`` while one is being built
====================================================  =========================================

Records travel as plain objects and are rebuilt from their type hints (``encode``, ``decode``).
"""

import importlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from saetui.features.results import Children

NARROW = "narrow"
"""The name of the encoder that ``open`` opens; others are named by their answers."""

OPERATIONS = {
    "open": "saetui.engine.messages:Opened",
    "open_sae": "saetui.engine.messages:EncoderInfo",
    "open_run": "saetui.engine.messages:EncoderInfo",
    "probe": "saetui.features.results:PromptProbe",
    "contexts": "saetui.features.results:Contexts",
    "find": "saetui.features.results:Findings",
    "firings": "saetui.features.results:Firings",
    "kept": "saetui.features.results:Kept",
    "trial": "saetui.split.pace:Trial",
    "densities": "saetui.features.results:Densities",
    "lens": "saetui.features.results:Lens",
    "neighbours": "list[saetui.features.results:Neighbour]",
    "pair": "saetui.features.results:Pair",
    "rank": "list[saetui.census.results:Evidence]",
    "census": "saetui.census.results:Census",
    "graft": "saetui.engine.messages:Grafted",
    "store_graft": "saetui.engine.messages:EncoderInfo",
    "children": "saetui.features.results:Children",
    "report": "saetui.split.finding.report:SplitReport",
    "compare": "saetui.split.comparison:Comparison",
    "judge": "saetui.split.judging.verdict:Judgement",
    "status": "saetui.engine.messages:Status",
}
"""Operations and the types of their answers, by name: a client imports only what it asks for."""


@dataclass(frozen=True)
class EncoderInfo:
    """An open encoder. ``name`` is what requests call it."""

    name: str
    kind: Literal["narrow", "sae", "graft"]
    title: str
    """What a person calls it: a folder's or a run's name, a graft's target."""
    d_sae: int
    run: str = ""
    """Id of the run that it is the result of, or empty."""
    target: int | None = None
    """The narrow SAE's feature that it split, where it is known."""
    children: list[int] = field(default_factory=list[int])
    """A graft's children, as features of this encoder."""


@dataclass(frozen=True)
class Opened:
    model: str
    hook_name: str
    device: str
    d_in: int
    n_ctx: int
    dataset: str
    narrow: EncoderInfo
    warnings: list[str]
    """What does not fit well enough to pass in silence, one line each."""


@dataclass(frozen=True)
class IndexProgress:
    """How far the corpus is read for one encoder (also sent as the notice ``index``)."""

    sae: str
    tokens: int
    wanted: int
    complete: bool


@dataclass(frozen=True)
class Grafted:
    sae: EncoderInfo
    children: Children
    hot_tokens: int
    """Tokens on which the target fires that the children were trained on."""
    seconds: float
    """From the first hot token to the children, waiting for the corpus not counted."""
    error_before: float | None = None
    """Mean over held-out hot tokens of Σ_d (x - x̂)², of the narrow SAE, …"""
    error_after: float | None = None
    """… and of the graft."""


@dataclass(frozen=True)
class Status:
    model: str
    """Empty where nothing is open."""
    device: str
    encoders: list[EncoderInfo]
    indexes: list[IndexProgress]
    pid: int


@cache
def result_type(operation: str) -> Any:
    """The type of an operation's answer."""
    spec = OPERATIONS[operation]
    if spec.startswith("list["):
        return list[_named(spec[5:-1])]
    return _named(spec)


def dump(message: dict[str, Any]) -> bytes:
    """A message as one line; records in it as plain objects."""
    return json.dumps(encode(message), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def load(line: bytes) -> dict[str, Any]:
    """The message of a line. ValueError where it is none."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"not a message: {line[:80]!r}")
    return message


def encode(value: Any) -> Any:
    """Plain JSON values of records, lists and dictionaries; NaN and infinities, which JSON lacks, by name."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} does not travel as JSON")


def decode(kind: Any, value: Any) -> Any:
    """The value of type ``kind`` that ``encode`` made ``value`` from.

    Dataclasses, lists, dictionaries, optional values and plain ones. A record's unknown keys are passed
    over; a missing key without a default is a TypeError.
    """
    return _decoder(kind)(value)


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """``decode`` for one type, which is looked at once: an answer has thousands of values."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is float:
        return float
    if origin in (Union, UnionType):
        inner = _decoder(next(option for option in arguments if option is not NoneType))
        return lambda value: None if value is None else inner(value)
    if origin in (list, tuple):
        item = _decoder(arguments[0])
        return origin if item is _as_it_is else lambda value: origin(map(item, value))
    if origin is dict:
        of_value = _decoder(arguments[1])
        return lambda value: {key: of_value(item) for key, item in value.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        of_field = {name: _decoder(hint) for name, hint in get_type_hints(kind).items()}
        return lambda value: kind(**{n: of_field[n](item) for n, item in value.items() if n in of_field})
    return _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


def _named(spec: str) -> Any:
    module, name = spec.split(":")
    return getattr(importlib.import_module(module), name)
