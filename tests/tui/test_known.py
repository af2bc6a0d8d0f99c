"""What is looked at every second is read again only where it may have changed."""

import pytest

from saetui.errors import UserError
from saetui.tui.known import Known


class Thing:
    """Something in files: what a reading gives, and how the files stand."""

    def __init__(self) -> None:
        self.value = "first"
        self.stamps: dict[str, int] = {"a": 1}
        self.reads = 0
        self.live = False
        self.while_read = lambda: None
        self.known = Known(self.read, lambda _: dict(self.stamps), lambda _: self.live)

    def read(self) -> str:
        self.reads += 1
        if not self.value:
            raise UserError("it is damaged")
        found = self.value
        self.while_read()
        return found


def test_only_what_has_changed_is_read_again() -> None:
    thing = Thing()
    assert [thing.known.look() for _ in range(3)] == ["first"] * 3 and thing.reads == 1
    thing.stamps["a"], thing.value = 2, "second"
    assert thing.known.look() == "second" and thing.reads == 2
    thing.live = True
    thing.known.look()
    assert thing.reads == 3


def test_what_changes_while_it_is_read_is_read_again() -> None:
    thing = Thing()

    def change() -> None:
        thing.stamps["a"], thing.value = 2, "second"

    thing.while_read = change
    assert thing.known.look() == "first"
    assert thing.known.look() == "second"
    thing.known.look()
    assert thing.reads == 2


def test_files_that_a_reading_tells_of_are_watched_and_those_that_it_no_longer_does_are_not() -> None:
    thing = Thing()
    thing.while_read = lambda: thing.stamps.update(b=1)
    thing.known.look()
    thing.known.look()
    assert thing.reads == 1
    thing.stamps["b"] = 2
    thing.while_read = lambda: thing.stamps.pop("b", None)
    thing.known.look()
    thing.known.look()
    assert thing.reads == 2


def test_what_could_not_be_read_is_tried_at_every_look() -> None:
    thing = Thing()
    thing.value = ""
    for _ in range(2):
        with pytest.raises(UserError):
            thing.known.look()
    assert thing.reads == 2 and thing.known.value is None
    thing.value = "mended"
    assert thing.known.look() == "mended"
