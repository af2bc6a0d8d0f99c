"""The whole screen in ASCII, for ``symbols = "ascii"``: screen readers read box drawing and arrows aloud one
by one, and some fonts and consoles have none of them."""

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_SAME_WIDTH = {
    **dict.fromkeys("─━╌╍┄┅═", "-"),
    **dict.fromkeys("│┃╎╏┊┆║┤├▌▐▎", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘┼", "+"),
    **dict.fromkeys("▁▂▃▄▅▆▇█▔▀", "#"),
    **dict.fromkeys("▸▶›»→", ">"),
    **dict.fromkeys("‹«←", "<"),
    **dict.fromkeys("·∙…↵", "."),
    **dict.fromkeys("–—‑", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("★●✱", "*"),
    **dict.fromkeys("↑⇧", "^"),
    "↓": "v",
    "✓": "+",
    "✗": "x",
    "≠": "!",
    "≤": "<",
    "≥": ">",
    "◌": ".",
    "‖": "=",
    "■": "#",
    "×": "x",
    "λ": "L",
    "Σ": "S",
    "␣": "_",
}
_TABLE = str.maketrans(_SAME_WIDTH)


class AsciiFilter(LineFilter):
    """Puts an ASCII character in the place of every one that the workbench itself draws; text of prompts
    and corpora in other scripts stays what it is."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(segment.text.translate(_TABLE), *segment[1:])
            for segment in segments
        ]
