"""The studies that ship with saetui."""

from pathlib import Path

FOLDER = Path(__file__).parent


def shipped() -> dict[str, Path]:
    """Their files by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
