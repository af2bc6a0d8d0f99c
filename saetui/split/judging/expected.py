"""How far a run has got with the children that its criteria expect, measured while it trains."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from saetui.corpus.rows import FirstRows, TokenRows
from saetui.errors import UserError
from saetui.features.encoder import Dictionary
from saetui.features.stored_lm import reading_stored
from saetui.lm.base import LanguageModel
from saetui.runs.store import Run
from saetui.split.judging.child_f1 import ChildContexts
from saetui.split.judging.criteria import Criteria
from saetui.split.judging.judge import DEFAULT_TOKENS, judge
from saetui.split.outcome import criteria_for


@dataclass(frozen=True)
class ExpectedChildren:
    """The criteria for a run's target, and the held-out rows on which a dictionary is held against them."""

    lm: LanguageModel
    criteria: Criteria
    rows: TokenRows
    contexts: ChildContexts | None
    """None: the token stands too seldom in the rows."""

    @classmethod
    def of(cls, lm: LanguageModel, run: Run, held_out: TokenRows) -> "ExpectedChildren | None":
        """None where there are no criteria for the run's target. Criteria that cannot be read are the judge's
        to complain about."""
        with suppress(UserError):
            if criteria := criteria_for(run):
                held_out = FirstRows(held_out, -(-DEFAULT_TOKENS // (held_out.seq_len - held_out.bos)))
                with reading_stored(lm, held_out, DEFAULT_TOKENS) as stored:
                    contexts = ChildContexts.of(stored, criteria, held_out)
                return cls(lm, criteria, held_out, contexts)
        return None

    def f1(self, encoder: Dictionary, features: Sequence[int] | None = None) -> dict[str, Any]:
        """``children``, a ``ChildF1`` each, of the ``features`` (None: all)."""
        if self.contexts is None:
            return {}
        return {"children": [asdict(child) for child in self.contexts.measure(encoder.encode, features)]}

    def passed(
        self, encoder: Dictionary, target: int | None, candidates: Sequence[int] | None = None
    ) -> dict[str, Any]:
        """``passed``: names of the children for which the judge finds all four criteria to hold, over as many
        held-out tokens as for the verdict. ``target`` and ``candidates`` as in ``judge``."""
        with suppress(UserError), reading_stored(self.lm, self.rows, DEFAULT_TOKENS) as lm:
            found = judge(lm, encoder, self.criteria, self.rows, target=target, candidates=candidates)
            return {"passed": [child.child for child in found.children if child.passed]}
        return {}
