"""SAE files: every format is read into the one convention of ``saetui.sae.sae``, and SAELens' is written."""

from dataclasses import replace
from pathlib import Path

import torch

from saetui.errors import UserError
from saetui.hub import snapshot
from saetui.sae.formats import dictionary_learning, neel, saelens
from saetui.sae.formats.saelens import read_density, save_saelens
from saetui.sae.sae import SAE

__all__ = ["load", "read_density", "save_saelens"]

# dictionary_learning before Neel Nanda's: both are .pt files, and only the first has a config.json.
_FORMATS = (saelens, dictionary_learning, neel)


def load(source: str | Path, device: str | torch.device = "cpu") -> SAE:
    """The SAE at ``source``, whatever its format, in fp32.

    ``source`` is a folder, a file, or a path on the hub: ``owner/repo``, ``owner/repo/folder`` or
    ``owner/repo/file.pt``, taken from the local hub cache where the hub cannot be reached. UserError
    where there is nothing, where no format is recognised, or where the files are damaged or disagree.
    """
    path = Path(source).expanduser()
    if not path.exists():
        path = _from_hub(str(source))
    for form in _FORMATS:
        if found := form.find(path):
            sae = form.read(found)
            name = sae.metadata.name or str(source)
            return replace(sae.to(device=device), metadata=replace(sae.metadata, name=name))
    raise UserError(
        f"no SAE in {source}: neither cfg.json with sae_weights.safetensors (SAELens), "
        "ae.pt with config.json (dictionary_learning), nor a .pt with its _cfg.json (Neel Nanda; "
        "of a hub repository name the file, e.g. NeelNanda/sparse_autoencoder/25.pt)"
    )


def _from_hub(source: str) -> Path:
    parts = source.strip("/").split("/")
    if len(parts) < 2 or source.startswith(("/", ".", "~")):
        raise UserError(f"no SAE at {source}: there is no such file or folder")
    repo, within = "/".join(parts[:2]), "/".join(parts[2:])
    if within.endswith(".pt"):
        folder = within.rpartition("/")[0]
        root = f"{folder}/" if folder else ""
        patterns = [within, f"{within.removesuffix('.pt')}_cfg.json", f"{root}config.json"]
        if folder.endswith("checkpoints"):
            patterns.append(f"{folder.removesuffix('checkpoints')}config.json")
    else:
        root = f"{within}/" if within else ""
        names = (saelens.CONFIG, saelens.WEIGHTS, saelens.SPARSITY, saelens.SCALER, "ae.pt", "config.json")
        patterns = [root + name for name in names]
    path = snapshot(repo, patterns) / within
    if not path.exists():
        raise UserError(f"the hub repository {repo} has no {within}")
    return path
