"""Where saetui keeps things, and what a person has set. TOML in the XDG place; without torch."""

import difflib
import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

from saetui.errors import UsageError

SYMBOLS = ("braille", "block", "ascii")
_KINDS = {str: "text", float: "number", dict: "table"}


@dataclass(frozen=True)
class Settings:
    """The settings file, every key with its default."""

    theme: str = ""
    """Textual theme of the workbench; empty: chosen from the terminal."""
    runs: str = ""
    """Folder of the runs; empty: the XDG data folder."""
    symbols: str = "braille"
    """What plots are drawn with: braille, block or ascii; with ascii, everything else too."""
    cache_gb: float = 8.0
    """Size of the cache of corpora, activations and feature indexes, in GB."""
    keys: dict[str, str] = field(default_factory=dict[str, str])
    """Remapped keys: action id to key, e.g. ``graft = "g"``."""
    limits: dict[str, Any] = field(default_factory=dict[str, Any])
    """Where the words of a split report begin, e.g. ``precision = 0.3``: see ``SplitThresholds``."""


def settings_path() -> Path:
    """The settings file; ``SAETUI_CONFIG`` overrides its place."""
    override = os.environ.get("SAETUI_CONFIG")
    return Path(override) if override else Path(platformdirs.user_config_dir("saetui")) / "settings.toml"


def load_settings(path: Path | None = None) -> Settings:
    """The settings, defaults where the file says nothing or does not exist.

    UsageError for a file that is not TOML, for an unknown key (naming the nearest known one) and for
    a value of the wrong type.
    """
    path = path or settings_path()
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    defaults: dict[str, Any] = {f.name: getattr(Settings(), f.name) for f in fields(Settings)}
    for key, value in values.items():
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(defaults)}"
            raise UsageError(f"{path}: unknown setting {key!r}{hint}")
        kind = type(defaults[key])
        if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
            raise UsageError(f"{path}: {key} is {value!r}, but a {_KINDS[kind]} is needed")
    if (symbols := values.get("symbols", SYMBOLS[0])) not in SYMBOLS:
        raise UsageError(f"{path}: symbols is {symbols!r}, but there are {', '.join(SYMBOLS)}")
    if values.get("cache_gb", 0) < 0:
        raise UsageError(f"{path}: cache_gb is {values['cache_gb']}; 0 turns the caches off")
    for name, key in values.get("keys", {}).items():
        if not isinstance(key, str):
            raise UsageError(f'{path}: [keys] {name} is {key!r}, but a key is needed, as in {name} = "g"')
    return Settings(**values)


def cache_root() -> Path:
    """Corpora, activations and indexes, all of which can be rebuilt; ``SAETUI_CACHE`` overrides."""
    override = os.environ.get("SAETUI_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("saetui"))


def runs_root() -> Path:
    """Where runs are kept; ``SAETUI_RUNS`` overrides the settings file."""
    if override := os.environ.get("SAETUI_RUNS"):
        return Path(override)
    return Path(load_settings().runs or Path(platformdirs.user_data_dir("saetui")) / "runs").expanduser()


def marks_root() -> Path:
    """Notes and bookmarks of features, which a person wrote and nothing can rebuild; ``SAETUI_MARKS``
    overrides."""
    override = os.environ.get("SAETUI_MARKS")
    return Path(override) if override else Path(platformdirs.user_data_dir("saetui")) / "marks"


def state_root() -> Path:
    """The workbench's own state: last feature, layout, clipboard; ``SAETUI_STATE`` overrides."""
    override = os.environ.get("SAETUI_STATE")
    return Path(override) if override else Path(platformdirs.user_state_dir("saetui"))
