"""Contexts as lines of text, the tokens in one column."""

from collections.abc import Sequence

from saetui.visible import cell_len, head, tail, visible


def concordance(contexts: Sequence[tuple[str, Sequence[str], int]], width: int) -> list[str]:
    """A line of at most ``width`` cells per context, given as its label, its tokens and the number of the one
    that it is about; the labels are equally wide."""
    texts = [
        (visible("".join(tokens[:center])), f"«{visible(tokens[center])}»", "".join(tokens[center + 1 :]))
        for _, tokens, center in contexts
    ]
    room = width - max((cell_len(label) for label, _, _ in contexts), default=0) - 2
    left = min(max((cell_len(before) for before, _, _ in texts), default=0), room // 2)
    lines: list[str] = []
    for (label, _, _), (before, token, after) in zip(contexts, texts, strict=True):
        before = tail(before, left)
        rest = head(token + visible(after), room - left)
        lines.append(f"{label}  {' ' * (left - cell_len(before))}{before}{rest}".rstrip())
    return lines
