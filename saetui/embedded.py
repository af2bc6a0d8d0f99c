"""The worlds that ship with saetui: where their files lie and what they say about themselves."""

import json
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from saetui.errors import UsageError

WORLDS = ("real", "synthetic")


@dataclass(frozen=True)
class World:
    """One embedded world, as its ``world.toml`` describes it. Paths are absolute."""

    name: str
    title: str
    hook_name: str
    seq_len: int
    lm: Path
    narrow_sae: Path
    wide_saes: tuple[Path, ...]
    criteria: Path
    target: int
    """The narrow SAE's hyphen feature."""
    threshold: float
    """Activation above which the target counts as firing, for filters and grafts."""
    prompts: tuple[str, ...]
    """Prompts that show the target in its sub-contexts; the first one greets a newcomer."""
    split: dict[str, Any] = field(default_factory=dict[str, Any])
    """What this world's split recipe has other than the general defaults."""
    graft: dict[str, Any] = field(default_factory=dict[str, Any])
    """The same for its graft recipe."""

    @property
    def narrow_features(self) -> int:
        """Features of the narrow SAE, from its configuration alone."""
        return json.loads((self.narrow_sae / "cfg.json").read_text(encoding="utf-8"))["d_sae"]


@cache
def models_folder() -> Path:
    """``models/`` in the installed package (a wheel) or at the root of the checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "models", package.parent / "models"):
        if folder.is_dir():
            return folder
    raise UsageError("the embedded models are missing: reinstall saetui, or name a model with --model")


def world(name: str) -> World:
    """The embedded world ``name``. UsageError where there is none of that name."""
    folder = models_folder() / name
    path = folder / "world.toml"
    if name not in WORLDS or not path.is_file():
        raise UsageError(f"no embedded world {name!r}: choose one of {', '.join(WORLDS)}")
    values = tomllib.loads(path.read_text())
    return World(
        name=name,
        title=values["title"],
        hook_name=values["hook_name"],
        seq_len=values["seq_len"],
        lm=folder / values["lm"],
        narrow_sae=folder / values["narrow_sae"],
        wide_saes=tuple(folder / wide for wide in values["wide_saes"]),
        criteria=folder / values["criteria"],
        target=values["target"],
        threshold=values["threshold"],
        prompts=tuple(values["prompts"]),
        split=values.get("split", {}),
        graft=values.get("graft", {}),
    )
