"""Criteria files: what the children of a target should be, written down before anyone looks.

A criteria file is TOML (``models/gelu-1l/criteria.toml`` explains every key by example). Without torch.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from saetui.errors import UsageError
from saetui.toml_file import check_keys, read_toml

OPEN, CLOSE = "«", "»"
"""Mark the probe token in a prompt: ``I'm a multi«-»millionaire``."""

_FILE_KEYS = ("name", "model", "target", "token", "thresholds", "child")
_CHILD_KEYS = ("name", "prompt", "contrasts", "pattern", "words", "logits")
_WORD_BEFORE = re.compile(r"\w+\Z")


@dataclass(frozen=True)
class Thresholds:
    """When a criterion passes; every number is reported whatever its threshold.

    The seed judged by eye: these defaults are ours, and a file can set its own.
    """

    margin: float = 0.1
    """1: ``1 - (strongest other feature) / child`` on the probe token, at least."""
    top_k: int = 20
    """2: so many of the child's top-activating tokens are read."""
    share: float = 0.5
    """2: the share of them that is the target's token and follows the pattern, at least."""
    boosted: int = 10
    """3: so many of the child's top boosted logits are read."""
    overlap: float = 0.2
    """3: the share of them that is among the expected words, at least."""
    contrast: float = 0.3
    """4: strongest activation on a contrast prompt's token / activation on the probe token, at most."""


@dataclass(frozen=True)
class ProbePrompt:
    """A prompt and the characters ``[start, stop)`` of its probe token."""

    text: str
    start: int
    stop: int

    @property
    def token(self) -> str:
        return self.text[self.start : self.stop]

    @property
    def marked(self) -> str:
        """The prompt with its probe token marked, as it would be written in a file."""
        return f"{self.text[: self.start]}{OPEN}{self.token}{CLOSE}{self.text[self.stop :]}"


@dataclass(frozen=True)
class ExpectedChild:
    """One child that the split should bring out."""

    name: str
    prompts: tuple[ProbePrompt, ...]
    contrasts: tuple[ProbePrompt, ...]
    pattern: str
    """Regex searched in the text before the token; empty: only ``words`` decide."""
    words: tuple[str, ...]
    """Words that may end right before the token."""
    logits: tuple[str, ...]
    """Words expected among the top boosted logits."""

    def follows(self, left: str) -> bool:
        """Whether the text ``left`` of a token fits: the pattern is found in it, or it ends in one of
        the words (case ignored for words; a pattern says ``(?i)`` if it wants that)."""
        if self.pattern and re.search(self.pattern, left):
            return True
        word = _WORD_BEFORE.search(left)
        return word is not None and word.group().casefold() in {w.casefold() for w in self.words}

    def expects(self, token: str) -> bool:
        """Whether a boosted token is, begins, or inflects one of the expected words.

        Small vocabularies boost pieces (`` st`` for *standing*) and inflections (*dimensional* for
        *dimension*), so a prefix counts from two characters on in the first case, three in the second.
        """
        piece = token.strip().casefold()
        for word in (w.casefold() for w in self.logits):
            begins = len(piece) >= 2 and word.startswith(piece)
            inflects = len(word) >= 3 and piece.startswith(word)
            if piece == word or begins or inflects:
                return True
        return False


@dataclass(frozen=True)
class Criteria:
    name: str
    token: str
    """The target's own token, exactly as the tokenizer has it: ``-``, `` the``."""
    children: tuple[ExpectedChild, ...]
    thresholds: Thresholds = Thresholds()
    model: str = ""
    """Which model the file was written for: a note for the reader."""
    target: int | None = None
    """The narrow SAE's feature that it was written for, where it says so."""
    source: str = ""
    """The file that it came from."""
    sha256: str = ""
    """Of that file."""


def load_criteria(path: str | Path) -> Criteria:
    """Read a criteria file.

    UsageError, always one line that names the file (and the child): no such file, not TOML, an unknown
    key (with the nearest known one), a missing key, a value of the wrong kind, a regex that does not
    compile, a prompt without the probe token.
    """
    path = Path(path)
    values, raw = read_toml(path, "criteria")
    return parse_criteria(values, str(path), hashlib.sha256(raw).hexdigest())


def parse_criteria(values: Mapping[str, Any], source: str, sha256: str = "") -> Criteria:
    """Criteria from TOML's values; ``source`` begins every error line. Raises as ``load_criteria``."""
    check_keys(values, _FILE_KEYS, source)
    token = _string(values, "token", source)
    tables = values.get("child", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise UsageError(f"{source}: no child is expected: add at least one [[child]] table")
    names = [_child_name(table, number, source) for number, table in enumerate(tables, 1)]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{source}: two children are called {name!r}: give each its own name")
    prompts = {
        name: _prompts(table, "prompt", token, f"{source}: child {name!r}")
        for name, table in zip(names, tables, strict=True)
    }
    children = tuple(
        _child(table, name, prompts, token, f"{source}: child {name!r}")
        for name, table in zip(names, tables, strict=True)
    )
    target = values.get("target")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int) or target < 0):
        raise UsageError(f"{source}: target is {target!r}, but the index of a feature is needed")
    return Criteria(
        name=_string(values, "name", source),
        token=token,
        children=children,
        thresholds=_thresholds(values.get("thresholds", {}), source),
        model=_string(values, "model", source) if "model" in values else "",
        target=target,
        source=source,
        sha256=sha256,
    )


def _child(
    table: Mapping[str, Any],
    name: str,
    prompts: Mapping[str, tuple[ProbePrompt, ...]],
    token: str,
    where: str,
) -> ExpectedChild:
    check_keys(table, _CHILD_KEYS, where)
    if "contrasts" in table:
        contrasts = _prompts(table, "contrasts", token, where)
    else:  # as in the seed: what shows one child is the contrast of the others
        contrasts = tuple(p for other, own in prompts.items() if other != name for p in own)
    if not contrasts:
        raise UsageError(f"{where}: contrasts is missing: name prompts on which this child should be silent")
    pattern = _string(table, "pattern", where) if "pattern" in table else ""
    words = _strings(table, "words", where) if "words" in table else ()
    if not pattern and not words:
        raise UsageError(f"{where}: pattern is missing: give a regex as pattern, a list as words, or both")
    try:
        re.compile(pattern)
    except re.error as error:
        at = "" if error.pos is None else f" at character {error.pos + 1}"
        raise UsageError(f"{where}: pattern {pattern!r} does not compile: {error.msg}{at}") from None
    return ExpectedChild(name, prompts[name], contrasts, pattern, words, _strings(table, "logits", where))


def _child_name(table: Mapping[str, Any], number: int, source: str) -> str:
    name = _string(table, "name", f"{source}: child {number}")
    if ":" in name:
        raise UsageError(f"{source}: child {name!r}: a name cannot hold a colon: call it something else")
    return name


def _prompts(table: Mapping[str, Any], key: str, token: str, where: str) -> tuple[ProbePrompt, ...]:
    values = (table[key],) if isinstance(table.get(key), str) else _strings(table, key, where)
    return tuple(parse_prompt(value, token, where) for value in values)


def parse_prompt(prompt: str, token: str, where: str) -> ProbePrompt:
    """The prompt with its probe token: the marked one, else the last occurrence of ``token``.

    UsageError, beginning with ``where``, if there is none or more than one is marked.
    """
    if OPEN in prompt or CLOSE in prompt:
        before, _, rest = prompt.partition(OPEN)
        marked, closed, after = rest.partition(CLOSE)
        if not closed or not marked or {OPEN, CLOSE} & set(before + marked + after):
            raise UsageError(f"{where}: prompt {prompt!r}: mark exactly one token, as in «{token}»")
        return ProbePrompt(before + marked + after, len(before), len(before) + len(marked))
    start = prompt.rfind(token)
    if start < 0:
        raise UsageError(
            f"{where}: prompt {prompt!r} has no token {token!r}: add it, or mark another with « »"
        )
    return ProbePrompt(prompt, start, start + len(token))


def _thresholds(table: Any, source: str) -> Thresholds:
    where = f"{source}: thresholds"
    if not isinstance(table, dict):
        raise UsageError(f"{where}: a table [thresholds] is needed")
    check_keys(table, tuple(f.name for f in fields(Thresholds)), where)
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UsageError(f"{where}: {key} is {value!r}: a number is needed")
        if key in ("top_k", "boosted"):
            if value != int(value) or value < 1:
                raise UsageError(f"{where}: {key} is {value}: a whole number of at least 1 is needed")
        elif not 0 <= value <= 1:
            raise UsageError(f"{where}: {key} is {value}: a number from 0 to 1 is needed")
    return Thresholds(**table)


def _string(table: Mapping[str, Any], key: str, where: str) -> str:
    if key not in table:
        raise UsageError(f"{where}: {key} is missing")
    value = table[key]
    if not isinstance(value, str) or not value:
        raise UsageError(f"{where}: {key} is {value!r}: a text is needed")
    return value


def _strings(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    if key not in table:
        raise UsageError(f"{where}: {key} is missing")
    value = table[key]
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
        raise UsageError(f"{where}: {key} is {value!r}: a list of texts is needed")
    return tuple(value)
