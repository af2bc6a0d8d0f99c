"""The colours of data series, the same in every plot.

Six hues that stay apart for the colour-blind (after Okabe and Ito, doi:10.5281/zenodo.4055914), lighter
on dark themes and darker on light ones, chosen so that 256 and 16 colours keep them apart too. A sign
goes with each (:data:`MARKERS`), because colour alone tells some people, and some terminals, nothing.
"""

DARK = ("#56b4e9", "#e69f00", "#2fc296", "#e377c2", "#e8d44d", "#e8704a")
LIGHT = ("#0040b0", "#a35f00", "#00802a", "#a0208c", "#b00000", "#007a8a")
COUNT = len(DARK)
MARKERS: dict[str, str] = {"braille": "●▲■◆▼★", "block": "●▲■◆▼★", "ascii": "ox+*#@"}


def series_css(widget: str, prefix: str) -> str:
    """Rules that colour the component classes ``{prefix}--series-N`` and ``{prefix}--band-N``."""
    rules = []
    for i, (dark, light) in enumerate(zip(DARK, LIGHT, strict=True)):
        for theme, colour in (("", dark), (":light", light)):
            rules.append(f"{widget}{theme} > .{prefix}--series-{i} {{ color: {colour}; }}")
            rules.append(f"{widget}{theme} > .{prefix}--band-{i} {{ color: {colour} 40%; }}")
    return "\n".join(rules)


def series_classes(prefix: str) -> set[str]:
    return {f"{prefix}--{kind}-{i}" for kind in ("series", "band") for i in range(COUNT)}
