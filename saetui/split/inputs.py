"""What a run worked on, put on record so that somebody else can tell whether they work on the same."""

from saetui.corpus.rows import TokenRows
from saetui.features.encoder import encoder_hash
from saetui.lm.base import LanguageModel
from saetui.runs.context import RunContext
from saetui.sae.sae import SAE


def record_inputs(context: RunContext, lm: LanguageModel, narrow: SAE | None, rows: TokenRows) -> None:
    """An ``inputs`` event with fingerprints of the language model's weights, of the narrow SAE (None: the run
    needs none) and of the training rows."""
    found = {
        "model": lm.fingerprint,
        "sae": encoder_hash(narrow) if narrow is not None else None,
        "data": rows.fingerprint,
    }
    shown = " · ".join(f"{name} {value[:12]}" for name, value in found.items() if value)
    context.event("inputs", **found, message=f"fingerprints: {shown}")
