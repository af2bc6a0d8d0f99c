"""Keys that a person remapped: what ``[keys]`` of the settings file may say, and what it comes to."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping

from textual.keys import Keys, _character_to_key  # pyright: ignore[reportPrivateUsage]

from saetui.errors import UsageError
from saetui.tui.actions import ACTIONS, Action, by_id, pretty_key

MAIN = frozenset({"app", "workbench", "panes", "prompt", "contexts", "children"})
"""Places whose actions are all offered on the main screen; every other place is a screen of its own, where
its keys go before those that work everywhere."""
LISTS = {*"hjkl", "up", "down", "left", "right", "enter", "pageup", "pagedown", "home", "end"}
"""Keys that walk lists and tokens wherever there are any."""
_MODIFIERS = frozenset({"ctrl", "alt", "shift", "super", "meta", "hyper"})


def checked(keys: Mapping[str, str]) -> dict[str, str]:
    """Actions to keys as Textual names them (``/`` becomes ``slash``).

    UsageError, in one line, for an action that there is not (naming the nearest), for what is no key, and for
    one that two actions of one screen would share.
    """
    keymap: dict[str, str] = {}
    for name, said in keys.items():
        if by_id(name) is None:
            near = difflib.get_close_matches(name, [action.id for action in ACTIONS], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"[keys]: no action {name!r}{hint} (saetui settings --keys lists them)")
        keymap[name] = ",".join(_named(name, key) for key in said.split(","))
    for name in keymap:
        _refuse_shared(name, keymap)
    return keymap


def keys_of(action: Action, keymap: Mapping[str, str]) -> list[str]:
    """The keys of an action, the remapped ones where it has any."""
    return [key.strip() for key in keymap.get(action.id, action.keys).split(",")]


def _named(name: str, key: str) -> str:
    key = key.strip()
    *modifiers, base = key.split("+") if key != "+" else ["+"]
    if len(base) == 1:
        base = base if base.isalnum() else _character_to_key(base)
    elif base not in {known.value for known in Keys} and not _is_character(base):
        raise UsageError(f"[keys]: {name} = {key!r} is no key: write a character, or a name as in 'ctrl+g'")
    if not base or not set(modifiers) <= _MODIFIERS:
        raise UsageError(f"[keys]: {name} = {key!r} is no key: write a character, or a name as in 'ctrl+g'")
    return "+".join([*modifiers, base])


def _is_character(name: str) -> bool:
    """Whether it is the Unicode name of a character, as Textual writes them (``question_mark``)."""
    try:
        unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return name in {"minus", "plus", "underscore", "slash", "backslash", "at", "pipe", "tilde"}
    return True


def _refuse_shared(name: str, keymap: Mapping[str, str]) -> None:
    action = by_id(name)
    assert action is not None
    for key in keys_of(action, keymap):
        if action.where in MAIN and key in LISTS:
            raise UsageError(f"[keys]: {name} = {pretty_key(key)!r} walks lists: give it another key")
        for other in ACTIONS:
            if other.id != name and _together(action, other) and key in keys_of(other, keymap):
                raise UsageError(
                    f"[keys]: {name} = {pretty_key(key)!r} is the key of {other.id} ({other.label}) too: "
                    "give one of them another"
                )


def _together(one: Action, other: Action) -> bool:
    return one.where == other.where or (one.where in MAIN and other.where in MAIN)
