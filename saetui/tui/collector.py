"""The garbage collector kept out of the way of the first frame and of the hand.

Starting makes some hundred thousand objects, nearly all of which stay; looking through them again and again
while they come is an eighth of the start, and afterwards each full collection would hold up a key.
"""

import gc


def postpone() -> None:
    """No collections until :func:`resume`."""
    gc.disable()


def resume() -> None:
    """Collects from now on, but never looks again at what the start has made."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
