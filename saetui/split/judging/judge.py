"""The judge: the four success criteria of the seed, as numbers with their evidence.

Source of the criteria: "Towards Efficient Feature-Splitting" (wenxus, 2024); how each became a number is
in the docstring of the function that computes it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saetui.corpus.rows import TokenRows
from saetui.errors import UserError
from saetui.features.encoder import Encoder
from saetui.features.lens import lens
from saetui.features.probe import prompt_tokens
from saetui.features.results import Context, FeatureActivation
from saetui.features.top_tokens import Progress, contexts_of, distinct, read_tokens, top_tokens
from saetui.lm.base import LanguageModel
from saetui.split.judging.criteria import Criteria, ExpectedChild, ProbePrompt
from saetui.split.judging.verdict import (
    ChildVerdict,
    CriterionResult,
    Evidence,
    Judgement,
    PromptReading,
    ReadContext,
    ReadLogit,
)

DEFAULT_TOKENS = 200_000
CONTEXT_BEFORE, CONTEXT_AFTER = 8, 4
"""Tokens shown, and those on the left are exactly what the pattern is matched against."""


@torch.inference_mode()
def judge(
    lm: LanguageModel,
    encoder: Encoder,
    criteria: Criteria,
    rows: TokenRows,
    *,
    name: str = "wide",
    target: int | None = None,
    candidates: Sequence[int] | None = None,
    tokens: int = DEFAULT_TOKENS,
    on_progress: Progress | None = None,
) -> Judgement:
    """Judge ``encoder`` by ``criteria`` over the first ``tokens`` tokens of held-out ``rows``.

    The child that is judged is the feature most active on the probe token (the largest sum of
    activations, if there are several prompts), among ``candidates`` (a graft's children) where they are
    given. ``target`` is the index at which the encoder inherited the target from the narrow SAE: it is
    never the child, but it is a rival like any other feature, so that criterion 1 fails while it leads.

    UserError where a probe token is not a token of its own to this model's tokenizer, or the criteria's
    token is not one; UsageError for a prompt that is too long.
    """
    token_id = lm.tokenizer.token_id(criteria.token)
    if token_id is None:
        raise UserError(
            f"{criteria.source}: {criteria.token!r} is not one token of {lm.name}: write it as there"
        )
    readings = _read_prompts(lm, encoder, criteria)
    eligible = [f for f in (range(encoder.d_sae) if candidates is None else candidates) if f != target]
    chosen = [_child_feature(child, readings, eligible) for child in criteria.children]
    held_out = read_tokens(rows, tokens)
    if not len(held_out):
        raise UserError(f"{rows.name} has no held-out rows to judge on: name a larger --dataset")
    features = sorted({feature for feature in chosen if feature is not None})
    # More than top_k, since alike contexts are dropped.
    found = top_tokens(lm, encoder, features, held_out, 8 * criteria.thresholds.top_k, rows.bos, on_progress)
    tops = dict(zip(features, found, strict=True))

    def verdict(child: ExpectedChild, feature: int | None) -> ChildVerdict:
        if feature is None:
            return _nothing_fires(child, criteria, readings)
        best = distinct(tops[feature], held_out, criteria.thresholds.top_k)
        contexts = contexts_of(lm, encoder, feature, best, held_out, rows.bos, CONTEXT_BEFORE, CONTEXT_AFTER)
        return ChildVerdict(
            child.name,
            feature,
            [
                _alone_on_probe(child, feature, criteria, readings, target),
                _top_tokens_follow(child, criteria, contexts),
                _logits_make_sense(lm, encoder, child, feature, criteria),
                _silent_on_contrasts(child, feature, criteria, readings),
            ],
        )

    return Judgement(
        encoder=name,
        criteria=criteria.name,
        source=criteria.source,
        sha256=criteria.sha256,
        token=criteria.token,
        tokens_read=len(held_out) * (rows.seq_len - rows.bos),
        rows=rows.name,
        children=[verdict(child, feature) for child, feature in zip(criteria.children, chosen, strict=True)],
    )


def probe_position(lm: LanguageModel, prompt: ProbePrompt, where: str) -> tuple[list[int], int]:
    """Tokens of a prompt (BOS first, where there is one) and the position of its probe token.

    UserError, beginning with ``where``, if the tokenizer joins the probe token with its neighbours.
    """
    ids = prompt_tokens(lm, prompt.text)
    until = prompt_tokens(lm, prompt.text[: prompt.stop])
    position = len(until) - 1
    if ids[: len(until)] != until or lm.tokenizer.token_str(ids[position]) != prompt.token:
        shown = "|".join(lm.tokenizer.token_str(id) for id in ids)
        raise UserError(
            f"{where}: {prompt.token!r} is not a token of its own in {prompt.marked!r}: "
            f"{lm.name} reads {shown!r}"
        )
    return ids, position


def _read_prompts(lm: LanguageModel, encoder: Encoder, criteria: Criteria) -> dict[ProbePrompt, Tensor]:
    """All feature activations ``[d_sae]``, on the CPU, at the probe token of every prompt and contrast."""
    readings: dict[ProbePrompt, Tensor] = {}
    for child in criteria.children:
        for prompt in (*child.prompts, *child.contrasts):
            if prompt not in readings:
                ids, position = probe_position(lm, prompt, f"{criteria.source}: child {child.name!r}")
                x = lm.activations(torch.tensor([ids], device=lm.device))[0, position]
                readings[prompt] = encoder.encode(x).float().cpu()
    return readings


def _child_feature(
    child: ExpectedChild, readings: dict[ProbePrompt, Tensor], eligible: list[int]
) -> int | None:
    total = torch.stack([readings[prompt] for prompt in child.prompts]).sum(0)[eligible]
    return eligible[int(total.argmax())] if len(total) and total.max() > 0 else None


def _alone_on_probe(
    child: ExpectedChild,
    feature: int,
    criteria: Criteria,
    readings: dict[ProbePrompt, Tensor],
    target: int | None,
) -> CriterionResult:
    """Criterion 1. ``1 - rival / child`` on the probe token, the rival being the strongest other feature:
    1 - a₂/a₁ where the child leads, negative where it does not; the smallest over the prompts."""
    margins: list[float] = []
    notes: list[str] = []
    for prompt in child.prompts:
        f = readings[prompt].clone()
        own = float(f[feature])
        f[feature] = 0
        rival = int(f.argmax())
        margins.append(1 - float(f[rival]) / own if own > 0 else -torch.inf)
        rival_name = f"the target itself ({rival})" if rival == target else f"feature {rival}"
        lead = f"feature {feature} at {own:.2f}"
        second = f"{rival_name} at {float(f[rival]):.2f}"
        notes.append(f"{lead}, {second}" if f[rival] > 0 else f"{lead}, and no other")
    worst = int(np.argmin(margins))
    return _result(
        1,
        margins[worst],
        criteria,
        Evidence(notes[worst], prompts=[_reading(prompt, feature, readings) for prompt in child.prompts]),
    )


def _top_tokens_follow(child: ExpectedChild, criteria: Criteria, contexts: list[Context]) -> CriterionResult:
    """Criterion 2. Share of the child's top-activating tokens that are the target's token *and* have a
    context that follows the pattern."""
    read = [
        ReadContext(
            context,
            on_token=context.tokens[context.center] == criteria.token,
            follows=child.follows("".join(context.tokens[: context.center])),
        )
        for context in contexts
    ]
    both = sum(r.on_token and r.follows for r in read)
    on_token = sum(r.on_token for r in read)
    note = (
        f"of its {len(read)} strongest distinct tokens {on_token} are {criteria.token!r}, "
        f"{both} of them after the pattern"
        if read
        else "it fires on none of the held-out tokens"
    )
    return _result(2, both / len(read) if read else None, criteria, Evidence(note, contexts=read))


def _logits_make_sense(
    lm: LanguageModel, encoder: Encoder, child: ExpectedChild, feature: int, criteria: Criteria
) -> CriterionResult:
    """Criterion 3. Share of the top boosted logits (``lens``) that are among the expected words."""
    boosted = lens(lm, encoder, feature, criteria.thresholds.boosted).boosted
    read = [ReadLogit(b.token, b.logit, child.expects(b.token)) for b in boosted]
    expected = sum(r.expected for r in read)
    note = f"{expected} of its {len(read)} most boosted tokens are expected"
    return _result(3, expected / len(read), criteria, Evidence(note, logits=read))


def _silent_on_contrasts(
    child: ExpectedChild, feature: int, criteria: Criteria, readings: dict[ProbePrompt, Tensor]
) -> CriterionResult:
    """Criterion 4. Strongest activation on a contrast's token over the weakest on a probe token."""
    own = min(float(readings[prompt][feature]) for prompt in child.prompts)
    strongest = max(child.contrasts, key=lambda prompt: float(readings[prompt][feature]))
    contrast = float(readings[strongest][feature])
    note = (
        f"at most {contrast:.2f}, on {strongest.marked!r}, against {own:.2f}"
        if contrast
        else "silent on all of them"
    )
    prompts = [_reading(prompt, feature, readings) for prompt in child.contrasts]
    return _result(4, contrast / own if own > 0 else None, criteria, Evidence(note, prompts=prompts))


def _nothing_fires(
    child: ExpectedChild, criteria: Criteria, readings: dict[ProbePrompt, Tensor]
) -> ChildVerdict:
    top = [PromptReading(p.marked, 0.0, _strongest(readings[p])) for p in child.prompts]
    evidence = Evidence("no child fires on the probe token", prompts=top)
    return ChildVerdict(child.name, None, [_result(n, None, criteria, evidence) for n in (1, 2, 3, 4)])


def _result(criterion: int, number: float | None, criteria: Criteria, evidence: Evidence) -> CriterionResult:
    limits = criteria.thresholds
    threshold = {1: limits.margin, 2: limits.share, 3: limits.overlap, 4: limits.contrast}[criterion]
    if number is None or not np.isfinite(number):
        return CriterionResult(criterion, None, threshold, False, evidence)
    passed = number <= threshold if criterion == 4 else number >= threshold
    return CriterionResult(criterion, number, threshold, passed, evidence)


def _reading(prompt: ProbePrompt, feature: int, readings: dict[ProbePrompt, Tensor]) -> PromptReading:
    return PromptReading(prompt.marked, float(readings[prompt][feature]), _strongest(readings[prompt]))


def _strongest(f: Tensor, top: int = 5) -> list[FeatureActivation]:
    best = f.topk(min(top, len(f)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [FeatureActivation(feature, value) for feature, value in pairs if value > 0]
