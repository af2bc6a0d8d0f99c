"""Numbers as a person reads them in a narrow column: 1.2M, 43 %, 4m12s."""

import math

_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def si(value: float | None, digits: int = 3) -> str:
    """``digits`` significant digits with an SI suffix: 1234 → 1.23k, 0.000012 → 1.2e-05; ``–`` for none."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 999.5e12 or 0 < size < 1e-3:
        return f"{value:.{max(digits - 2, 0)}e}"
    for scale, suffix in _SI:
        # 999 950 must become 1.00M, not 1000k: round before choosing the suffix.
        if size >= scale * (1 - 0.5 * 10.0**-digits):
            return _significant(value / scale, digits) + suffix
    return _significant(value, digits)


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    whole = math.floor(math.log10(abs(value))) + 1
    text = f"{value:.{max(digits - whole, 0)}f}"
    # Rounding may add a digit (9.999 → 10.00).
    if len(text.lstrip("-").replace(".", "").lstrip("0")) > digits and "." in text:
        text = text[:-1].rstrip(".")
    return text


def short(value: float | None) -> str:
    """As :func:`si`, without trailing zeros: 2.00M → 2M."""
    text = si(value)
    number, suffix = (text[:-1], text[-1]) if text[-1:] in "TGMk" else (text, "")
    if "." in number and "e" not in number:
        number = number.rstrip("0").rstrip(".")
    return number + suffix


def percent(share: float | None, digits: int = 3) -> str:
    """A share of one as a percentage: 0.0123 → 1.23 %."""
    if share is None or not math.isfinite(share):
        return "–"
    if 0 < abs(share) < 1e-5:
        return "<.001 %"
    return f"{_significant(share * 100, digits)} %"


def duration(seconds: float | None) -> str:
    """Two units at most: 8s, 4m12s, 3h05m, 2d04h."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count: float | None) -> str:
    """Bytes in binary units: 1536 → 1.50 KiB."""
    if count is None or not math.isfinite(count):
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1023.5:
            return f"{_significant(count, 3)} {unit}"
        count /= 1024
    return f"{_significant(count, 3)} TiB"
