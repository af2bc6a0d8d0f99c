"""The garbage collector kept out of the way of the first frame and of the hand.

Starting makes some hundred thousand objects, nearly all of which stay; looking through them again and again
while they come is an eighth of the start, and afterwards each full collection would hold up a key. What a
key leaves behind (Textual's strips refer to themselves) would call for one every ten keys, each as long as
the rest of the key's work: they wait until the hand rests.
"""

import gc

SELDOM = 200
"""Collections of the middle generation after which a full one comes all the same, in the middle of a key."""
DUE = 3
"""The same, after which one is worth a moment in which nothing else is done."""


def postpone() -> None:
    """No collections until :func:`resume`."""
    gc.disable()


def resume() -> None:
    """Collects from now on, but never looks again at what the start has made."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, SELDOM)


def rest() -> None:
    """Looks through everything, where much has come since the last time."""
    if gc.get_count()[2] >= DUE:
        gc.collect()
