"""What the tests of the screens share."""

import pytest
from textual.app import App


@pytest.fixture(autouse=True)
def lasting_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice must still be there when a slow machine comes to look for it."""
    monkeypatch.setattr(App, "NOTIFICATION_TIMEOUT", 1000)
