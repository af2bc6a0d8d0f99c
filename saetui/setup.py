"""What a query or a run works on: names only, so that it can be shown, stored and sent anywhere."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from saetui.embedded import WORLDS


@dataclass(frozen=True)
class Setup:
    """Model, hook point, SAE and data, as a person names them. No torch: the workbench, a run's
    manifest and the engine all carry it; ``saetui.loading`` turns it into objects."""

    model: str = "real"
    """An embedded world (``real``, ``synthetic``), ``gelu-1l``, a hub name or a local folder."""
    hook_name: str = ""
    """Empty: what the SAE's metadata says."""
    sae: str = ""
    """The narrow SAE: a folder, a file or a hub path. Empty: the embedded world's own."""
    dataset: str = ""
    """A hub name, a file or a folder. Empty: the embedded world's own corpus."""
    seq_len: int | None = None
    """Tokens in a row, BOS included. None: the embedded world's, or 128."""
    device: str = "auto"
    """``auto`` | ``cpu`` | ``cuda`` | ``cuda:1`` … or several, ``cuda:0,cuda:1``: a wide run trains on all of
    them together, a study has a run on each, and everything else uses the first."""

    @property
    def devices(self) -> list[str]:
        """The names in ``device``, one at least."""
        return [name.strip() for name in self.device.split(",")]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls(**values)

    def anchored(self, folder: Path) -> Self:
        """With the relative paths that exist under ``folder`` made absolute."""
        found = {
            name: str((folder / value).resolve())
            for name in ("model", "sae", "dataset")
            if (value := getattr(self, name)) and value not in WORLDS and (folder / value).exists()
        }
        return replace(self, **found)

    def made(self, setup: dict[str, Any]) -> bool:
        """Whether another setup, as a dictionary, is about the same model and narrow SAE."""
        own = self.to_dict()
        return all(setup.get(key) == own[key] for key in ("model", "hook_name", "sae"))
