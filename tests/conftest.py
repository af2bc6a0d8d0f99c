"""What every test stands on: no network, no one's own settings, one torch thread a process."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# For stand-ins of the engine, which lie in tests/.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshots", action="store_true", help="write the text snapshots of screens anew"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-snapshots"):
        os.environ["SAETUI_UPDATE_SNAPSHOTS"] = "1"


@pytest.fixture(autouse=True)
def isolated_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs, caches, state and settings of a test lie in a folder of its own."""
    root = tmp_path_factory.mktemp("places")
    for name in ("CACHE", "RUNS", "STATE", "MARKS"):
        monkeypatch.setenv(f"SAETUI_{name}", str(root / name.lower()))
    monkeypatch.setenv("SAETUI_CONFIG", str(root / "settings.toml"))
    return root
