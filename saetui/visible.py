"""Tokens as they can be shown: every character visible, one cell width for every terminal.

What a language model calls a token may be a newline, half an emoji, a right-to-left override or a
lone surrogate. On a grid each of them would move or hide its neighbours, so they are replaced by
visible stand-ins; right-to-left text is shown in its logical order.
"""

import unicodedata

from rich.cells import cell_len, get_character_cell_size

_NAMED = {"\n": "↵", "\r": "␍", "\t": "→", "\u00a0": "⍽", "\u007f": "␡"}
_SELECTORS = range(0xFE00, 0xFE10)
FORMAT = "◦"
"""Stands for an invisible character: zero-width spaces, joiners, bidirectional controls."""


def visible(text: str, dots: bool = False) -> str:
    """``text`` with nothing in it that a terminal would hide or act upon.

    Line breaks, tabs and controls get their symbols; with ``dots`` every space is ``·``, otherwise
    only in a run of two or more, where they could not be counted.
    """
    if text.isascii() and text.isprintable() and not dots and "  " not in text:
        return text
    out: list[str] = []
    for i, char in enumerate(text):
        if char == " ":
            run = dots or text[i - 1 : i] == " " or text[i + 1 : i + 2] == " "
            out.append("·" if run else " ")
        elif char in _NAMED:
            out.append(_NAMED[char])
        elif ord(char) < 0x20:
            out.append(chr(0x2400 + ord(char)))
        elif ord(char) in _SELECTORS:
            continue  # would change the width of the character before it, but not in every terminal
        else:
            out.append(_stand_in(char))
    shown = "".join(out)
    # A mark on its own would sit on the neighbouring token's last letter.
    if shown and get_character_cell_size(shown[0]) == 0:
        shown = "◌" + shown
    return shown


def _stand_in(char: str) -> str:
    if char.isascii():
        return char
    match unicodedata.category(char):
        case "Cf":
            return FORMAT
        case "Cc" | "Cs" | "Cn" | "Co":
            return "\ufffd"
        case "Zs" | "Zl" | "Zp":
            return "⍽"
        case _:
            return char


def head(text: str, width: int, more: str = "…") -> str:
    """The beginning of ``text`` in at most ``width`` cells, ``more`` where something is cut off."""
    if cell_len(text) <= width:
        return text
    room = width - cell_len(more)
    if room < 0:
        return ""
    used, end = 0, 0
    for end, char in enumerate(text):  # noqa: B007 - the index where it stopped is the cut
        used += get_character_cell_size(char)
        if used > room:
            break
    return text[:end] + more


def tail(text: str, width: int, more: str = "…") -> str:
    """The end of ``text`` in at most ``width`` cells, ``more`` where something is cut off."""
    if cell_len(text) <= width:
        return text
    room = width - cell_len(more)
    if room < 0:
        return ""
    used, start = 0, len(text)
    while start > 0:
        size = get_character_cell_size(text[start - 1])
        if used + size > room:
            break
        used += size
        start -= 1
    while start < len(text) and get_character_cell_size(text[start]) == 0:
        start += 1  # a mark must not be torn from its letter
    return more + text[start:]


def pad(text: str, width: int, right: bool = False) -> str:
    """``text`` in exactly ``width`` cells, cut or filled with spaces (before it with ``right``)."""
    text = head(text, width)
    fill = " " * (width - cell_len(text))
    return fill + text if right else text + fill
