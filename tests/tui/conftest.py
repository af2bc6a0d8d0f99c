"""What the tests of the screens share."""

import pytest
from textual.app import App

from saetui.tui.screens import launch


@pytest.fixture(autouse=True)
def lasting_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice must still be there when a slow machine comes to look for it."""
    monkeypatch.setattr(App, "NOTIFICATION_TIMEOUT", 1000)


@pytest.fixture(autouse=True)
def roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every machine."""
    monkeypatch.setattr(launch, "free_space", lambda: launch.Free(80_000_000_000, 80_000_000_000, 10**10))
