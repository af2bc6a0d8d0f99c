"""What was read from files, and is read again only where they have changed."""

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Known(Generic[Value]):
    """One thing that is looked at every second, of which most do not change any more.

    ``stamp`` says how what it is read from stands now (a file's signature, say); it is given what was read
    last, as that may tell of more files. ``live``: it may change and no file tells, as when a process dies.
    """

    def __init__(
        self,
        read: Callable[[], Value],
        stamp: Callable[[Value | None], Mapping[Hashable, Hashable]],
        live: Callable[[Value], bool],
    ) -> None:
        self._read, self._stamp, self._live = read, stamp, live
        self._seen: Mapping[Hashable, Hashable] = {}
        self.value: Value | None = None
        """None: not read yet, or the last reading failed."""

    def look(self) -> Value:
        """The thing as it is now. Raises what ``read`` raises."""
        # Before the reading: what changes meanwhile is read again the next time.
        now = self._stamp(self.value)
        if self.value is None or now != self._seen or self._live(self.value):
            self.value = None
            self.value = self._read()
            self._seen = {what: now.get(what, stands) for what, stands in self._stamp(self.value).items()}
        return self.value
