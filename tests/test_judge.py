"""The judge, against SAEs whose answer is known by construction: every number has a right value."""

import re
from dataclasses import replace

import pytest
import torch

from saetui.corpus.grammar import SyntheticRows
from saetui.errors import UsageError, UserError
from saetui.sae.sae import SAE
from saetui.split.judging.criteria import Criteria, ExpectedChild, Thresholds, parse_criteria, parse_prompt
from saetui.split.judging.judge import judge, probe_position
from saetui.split.judging.verdict import ChildVerdict, Judgement
from tests.constructed import ADJ, COUNT, DIGIT, HYPHEN, OTHER, WORD, ConstructedLM, sae_of

PROMPTS = {
    "count": "It was a multi«-»part plan",
    "adj": "It was a long«-»term plan",
    "digit": "It was a 3«-»day plan",
}
COUNTS = ["two", "three", "multi", "four", "single", "five", "six", "double", "triple", "seven", "eight"]
COUNTS += ["ten", "nine", "dual"]
VALUES = {
    "name": "the synthetic hyphen",
    "token": "-",
    "child": [
        {"name": "count", "prompt": PROMPTS["count"], "words": COUNTS, "logits": ["part", "story"]},
        {"name": "adj", "prompt": PROMPTS["adj"], "pattern": "[a-z]$", "logits": ["term", "lasting"]},
        {"name": "digit", "prompt": PROMPTS["digit"], "pattern": r"\d$", "logits": ["day", "year"]},
    ],
}
CRITERIA = parse_criteria(VALUES, "toy.toml")

PARENT = {HYPHEN: 1.0}
SILENCED = (PARENT,)
"""Feature 0 keeps the target's decoder row but reads nothing, as a target_zeroed run leaves it."""
PERFECT = sae_of({}, {COUNT: 1.0}, {ADJ: 1.0}, {DIGIT: 1.0}, decoder=SILENCED)
"""Features 1, 2 and 3 are the target's children."""


@pytest.fixture(scope="module")
def lm() -> ConstructedLM:
    return ConstructedLM()


def judged(lm: ConstructedLM, sae: SAE, criteria: Criteria = CRITERIA, **options) -> Judgement:
    return judge(lm, sae, criteria, SyntheticRows("eval"), tokens=10_000, **options)


def number(judgement: Judgement, child: str, criterion: int) -> float:
    verdict = judgement.child(child)
    assert verdict is not None
    value = verdict.criteria[criterion - 1].number
    assert value is not None
    return value


def test_the_basis_of_the_construction(lm: ConstructedLM) -> None:
    """The labels of the rows and the constructed activations agree, or nothing below means anything."""
    rows = SyntheticRows("eval")
    x = lm.activations(torch.tensor(rows.read(0, 300).astype("int64")))
    labels = torch.tensor(rows.labels(0, 300))
    at = labels >= 0
    assert torch.equal(x[at][:, 1:5].argmax(-1), labels[at].long())


def test_a_perfect_split(lm: ConstructedLM) -> None:
    judgement = judged(lm, PERFECT)
    assert [child.feature for child in judgement.children] == [1, 2, 3]
    assert judgement.passed == 3
    for child in VALUES["child"]:
        assert number(judgement, child["name"], 1) == 1.0  # no other feature fires
        assert number(judgement, child["name"], 2) == 1.0
        assert number(judgement, child["name"], 4) == 0.0
    # The lens of child 1 has four words of its own, "part" and "story" of them expected; the other
    # six of its ten most boosted are ties at the mean.
    assert number(judgement, "count", 3) == pytest.approx(0.2)
    assert judgement.tokens_read == 10_000 - 10_000 % 47  # whole rows of 47 tokens and a BOS


def test_the_numbers(lm: ConstructedLM) -> None:
    """A rival a quarter as strong, a leak to digits of a fifth: margin 3/4, contrast ratio 1/5."""
    before_multi, before_3 = (
        lm.activations(torch.tensor([[*lm.tokenizer.encode(text, bos=True)]]))[0, -1]
        for text in ("It was a multi-", "It was a 3-")
    )
    own = float(before_multi[COUNT])
    leak = 0.2 * float(before_3[DIGIT])
    sae = sae_of({}, {COUNT: 1.0, DIGIT: 0.2}, {ADJ: 1.0}, {DIGIT: 1.0}, {COUNT: 0.25}, decoder=SILENCED)
    judgement = judged(lm, sae)
    assert number(judgement, "count", 1) == pytest.approx(0.75)
    assert number(judgement, "count", 4) == pytest.approx(leak / own)
    count = judgement.child("count")
    assert count is not None and count.passed
    rivals = count.criteria[0].evidence.prompts[0].top
    assert [r.feature for r in rivals] == [1, 4]
    assert [p.child for p in count.criteria[3].evidence.prompts] == pytest.approx([0.0, leak])


def test_the_target_that_still_leads_is_no_child(lm: ConstructedLM) -> None:
    sae = sae_of({HYPHEN: 2.0}, {COUNT: 1.0}, {ADJ: 1.0}, {DIGIT: 1.0})
    judgement = judged(lm, sae, target=0)
    count = judgement.child("count")
    assert count is not None
    assert count.feature == 1
    assert [r.passed for r in count.criteria] == [False, True, True, True]
    margin = number(judgement, "count", 1)
    assert margin == pytest.approx(1 - 8.0 / count.criteria[0].evidence.prompts[0].child)
    assert margin < 0
    assert "the target itself (0) at 8.00" in count.criteria[0].evidence.note
    assert judged(lm, PERFECT, target=0).passed == 3


def test_a_graft_names_its_children(lm: ConstructedLM) -> None:
    """A narrow feature that wins the probe is no child of the graft; it is a rival."""
    judgement = judged(lm, sae_of({COUNT: 2.0}, {COUNT: 1.0}, {ADJ: 1.0}, {DIGIT: 1.0}), candidates=[1, 2, 3])
    count = judgement.children[0]
    assert (count.feature, count.criteria[0].number) == (1, pytest.approx(-1.0))
    note = re.search(r"feature 1 at ([\d.]+), feature 0 at ([\d.]+)", count.criteria[0].evidence.note)
    assert note is not None
    assert float(note[2]) == pytest.approx(2 * float(note[1]), abs=0.02)


def test_one_generic_child_fails_the_contrast(lm: ConstructedLM) -> None:
    """An unsplit copy at a new index: it wins every probe, and fires as much on every contrast."""
    judgement = judged(lm, sae_of({WORD: 1.0}, PARENT))
    assert [child.feature for child in judgement.children] == [1, 1, 1]
    assert judgement.passed == 0
    for child in judgement.children:
        assert child.criteria[0].passed
        assert child.criteria[3].number == pytest.approx(1.0)
        assert not child.criteria[3].passed
    assert "'It was a " in judgement.children[0].criteria[3].evidence.note


def test_share_counts_token_and_pattern(lm: ConstructedLM) -> None:
    """A child that is as strong on words as on its hyphens: pattern and token are both asked for."""
    mixed = judged(lm, sae_of({COUNT: 1.0}, {ADJ: 1.0, OTHER: 1.01}, {DIGIT: 1.0, WORD: 3.0}))
    count, adj, digit = mixed.children
    assert count.criteria[1].number == 1.0
    # "non-", "self-" follow the pattern [a-z]$ as well as "long-" does.
    assert adj.criteria[1].number == 1.0
    assert digit.criteria[1].number == 0.0
    evidence = digit.criteria[1].evidence
    assert not any(read.on_token for read in evidence.contexts)
    assert evidence.note.startswith("of its 20 strongest distinct tokens 0 are '-'")


def test_evidence_is_read_from_the_corpus(lm: ConstructedLM) -> None:
    rows = SyntheticRows("eval")
    contexts = judged(lm, PERFECT).children[2].criteria[1].evidence.contexts
    assert len(contexts) == 20
    strengths = [read.context.activation for read in contexts]
    assert strengths == sorted(strengths, reverse=True)
    seen = set()
    for read in contexts:
        context = read.context
        ids = rows.read(context.row, 1)[0].astype(int).tolist()
        first = context.position - context.center
        assert context.tokens == [
            lm.tokenizer.token_str(id) for id in ids[first : first + len(context.tokens)]
        ]
        assert first >= 1  # BOS is no neighbour
        assert context.tokens[context.center] == "-"
        assert context.tokens[context.center - 1].strip().isdigit()
        seen.add(tuple(ids[context.position - 3 : context.position + 1]))
    assert len(seen) == 20  # no two alike


def test_the_strongest_tokens_are_exact(lm: ConstructedLM) -> None:
    """Against a sort of all activations at once."""
    rows = SyntheticRows("eval")
    tokens = torch.tensor(rows.read(0, 212).astype("int64"))
    f = PERFECT.encode(lm.activations(tokens))[..., 1]
    f[:, 0] = 0
    best = float(f.max())
    contexts = judged(lm, PERFECT).children[0].criteria[1].evidence.contexts
    assert contexts[0].context.activation == best
    first = int((f.flatten() == best).nonzero()[0])
    assert (contexts[0].context.row, contexts[0].context.position) == divmod(first, 48)


def test_several_prompts_take_the_worst(lm: ConstructedLM) -> None:
    prompts = tuple(parse_prompt(p, "-", "x") for p in (PROMPTS["count"], PROMPTS["adj"]))
    contrasts = (parse_prompt(PROMPTS["digit"], "-", "x"),)
    child = ExpectedChild("both", prompts, contrasts, "[a-z]$", (), ("part",))
    sae = sae_of({COUNT: 1.0, ADJ: 1.0}, {ADJ: 0.5}, {DIGIT: 1.0})
    both = judged(lm, sae, replace(CRITERIA, children=(child,))).children[0]
    assert both.feature == 0
    assert both.criteria[0].number == pytest.approx(0.5)
    assert [p.prompt for p in both.criteria[0].evidence.prompts] == [PROMPTS["count"], PROMPTS["adj"]]


def test_thresholds_decide(lm: ConstructedLM) -> None:
    sae = sae_of({COUNT: 1.0}, {COUNT: 0.25}, {ADJ: 1.0}, {DIGIT: 1.0})
    for margin, passed in ((0.75, True), (0.76, False)):
        criteria = replace(CRITERIA, thresholds=Thresholds(margin=margin))
        result = judged(lm, sae, criteria).children[0].criteria[0]
        assert (result.passed, result.threshold) == (passed, margin)


def test_nothing_fires(lm: ConstructedLM) -> None:
    judgement = judged(lm, sae_of({WORD: 1.0}, PARENT), target=1)
    for child in judgement.children:
        assert (child.feature, child.passed) == (None, False)
        assert [r.number for r in child.criteria] == [None] * 4
        assert child.criteria[0].evidence.prompts[0].top[0].feature == 1


def test_records_survive_json(lm: ConstructedLM) -> None:
    import json

    judgement = judged(lm, PERFECT)
    again = Judgement.from_dict(json.loads(json.dumps(judgement.to_dict())))
    assert again == judgement
    assert isinstance(again.children[0], ChildVerdict)


def test_bad_input_is_one_line(lm: ConstructedLM) -> None:
    def fails(values: dict, says: str, kind: type[UserError] = UserError) -> None:
        with pytest.raises(kind) as caught:
            judged(lm, PERFECT, parse_criteria({**VALUES, **values}, "toy.toml"))
        line = str(caught.value)
        assert says in line
        assert "\n" not in line

    other = [{**child, "prompt": "a plan-b", "contrasts": ["plan-b"]} for child in VALUES["child"]]
    fails({"token": "plan-b", "child": other}, "toy.toml: 'plan-b' is not one token of constructed")
    joined = {**VALUES["child"][0], "prompt": "It was a mul«ti»-part plan"}
    fails({"child": [joined, VALUES["child"][1]]}, "child 'count': 'ti' is not a token of its own")
    long = {**VALUES["child"][0], "prompt": "It was a multi«-»part plan " * 20}
    with pytest.raises(UsageError, match="mark exactly one"):
        parse_criteria({**VALUES, "child": [long]}, "toy.toml")
    too_long = {**VALUES["child"][0], "prompt": "plan " * 60 + "multi-part"}
    fails({"child": [too_long, VALUES["child"][1]]}, "tokens, constructed takes 47", UsageError)


def test_probe_position(lm: ConstructedLM) -> None:
    ids, position = probe_position(lm, parse_prompt("It was a long-term plan - good", "-", "x"), "x")
    assert lm.tokenizer.token_str(ids[position]) == "-"
    ids, position = probe_position(lm, parse_prompt("It was a long«-»term plan", "-", "x"), "x")
    assert [lm.tokenizer.token_str(id) for id in ids[position - 1 : position + 2]] == [" long", "-", "term"]
