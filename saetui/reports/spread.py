"""Numbers over seeds, as a table shows them."""

from collections.abc import Callable

from saetui.studies.results import Over

Form = Callable[[float], str]


def number(value: float | None, form: Form) -> str:
    return "" if value is None else form(value)


def over(value: Over | None, form: Form) -> str:
    """``0.91 (0.88 … 0.93)``; the spread only where there is one to show."""
    if value is None:
        return ""
    middle, low, high = form(value.median), form(value.low), form(value.high)
    return middle if low == high else f"{middle} ({low} … {high})"


def share(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else ""
