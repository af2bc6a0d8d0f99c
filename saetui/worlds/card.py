"""A world's card, ``CARD.md``, from the numbers measured when it was built (``card.json``)."""

# ruff: noqa: E501 (prose)

from typing import Any

from saetui.corpus.installed import EVAL_SHARE

_HEADS = {
    "real": """# The real-text world

A one-layer GELU language model trained by saetui's own code on the documentation and source that lie on every
machine with saetui: the Python standard library's and the installed dependencies' docstrings, comments and
README files, about 15 % code. No text of others is in this repository: the corpus is rebuilt on the machine, deterministically for
given versions of the packages. {held_out:.0%} of the documents are held out, and a paragraph that is in both splits
stays in the first only; all numbers below are from held-out documents.""",
    "synthetic": """# The synthetic world

Sentences of a probabilistic grammar of our own (`saetui/corpus/grammar_rules.py`), and a one-layer GELU language
model trained on them. Every hyphen has a known context: after a count, an adjective, a number, or a prefix.
Half of what may follow a hyphen is common to the four, half is each one's own, so that the hyphen is one thing to a
narrow SAE and several to a wide one. That was designed, not found: this world is where methods are proved right,
not where anything is learnt about language. All numbers below are from rows of the grammar's `eval` split.""",
}

_LIMITS = {
    "real": """- One seed of the language model was trained, and seeds of the narrow SAE until one had a feature that covers the
  hyphen well: such a feature is not in every one. Recipes were chosen by looking at a few.
- The corpus, the tokenizer learnt from it, and so every number here depend on the versions of the packages that
  are installed.
- The classes are patterns over the text before the hyphen, not labels.
- `wide` and `wide-all` differ in initialisation and loss too, not in the filter alone, and each is one seed; the
  recipe of `wide` was chosen on the same held-out documents.
- The target misses hyphens at the beginning of lines and after brackets: bullets are features of their own.
- F1 of a child is the best single feature's: a class that is spread over several features counts as not found.
- The model is small and saw {tokens_m:.1f} M tokens, its sequences are {n_ctx} tokens long.""",
    "synthetic": """- A toy: {vocab} tokens of vocabulary, no meaning beyond the grammar's. Methods that fail here are wrong;
  methods that succeed here are not thereby right on real text.
- L0 is low and FVU small because most tokens have one cause.
- The SAE without a filter separates the classes too (see its F1): what differs is whether one child leads alone.
- `wide` and `wide-all` differ in initialisation and loss too, not in the filter alone.""",
}


def text(numbers: dict[str, Any]) -> str:
    """``CARD.md`` of ``numbers``, as ``saetui.worlds.saes.build`` gathers them."""
    name, lm = numbers["world"], numbers["lm"]
    narrow, target = numbers["narrow"], numbers["narrow"]["target"]
    model = lm["model"]
    limits = _LIMITS[name].format(tokens_m=lm["tokens"] / 1e6, n_ctx=model["n_ctx"], vocab=model["d_vocab"])
    parts = [
        _HEADS[name].format(held_out=EVAL_SHARE),
        f"Made by `python -m saetui.worlds build {name}`, with every constant in `saetui/worlds/recipes.py`;\n"
        f"numbers in `card.json`. Versions: {', '.join(f'{k} {v}' for k, v in lm['versions'].items())}.",
        "## Language model\n\n"
        f"One layer, d_model {model['d_model']}, {model['n_heads']} heads of {model['d_head']}, d_mlp "
        f"{model['d_mlp']}, context {model['n_ctx']}, vocabulary {model['d_vocab']}; "
        f"{lm['parameters'] / 1e6:.2f} M parameters, float16, LayerNorm folded and centred (TransformerLens's "
        f"compatibility form). {lm['tokens'] / 1e6:.2f} M tokens, Muon and AdamW, warm-up, constant rate, linear "
        f"decay over the last quarter.\nHeld-out loss **{lm['loss']:.3f} nats per token**, "
        f"{lm['loss_per_char']:.3f} per character.",
        f"## Narrow SAE\n\nReads `blocks.0.hook_mlp_out`, unscaled; trained on all data. {_recipe(narrow)}\n\n"
        + _quality([("narrow", narrow)]),
        f"**Target: feature {target['feature']}**, chosen by AUC among all features. It tells the hyphen from all other "
        f"tokens with AUC **{target['auc']:.3f}** and a best F1 of **{target['f1']:.2f}** (cut "
        f"{target['cut']:.2f}); above the threshold {target['threshold']:g} recall is {target['recall']:.2f} and "
        f"precision {target['precision']:.2f}. On {target['top1']:.0%} of hyphens it is the strongest feature. "
        f"({numbers['occurrences']:,} hyphens in {numbers['held_out_tokens']:,} held-out tokens.)",
        "## Wide SAEs and graft\n\n`wide`: the world's own recipe, filtered. `wide-all`: as many tokens of all data, "
        f"random initialisation.\n\n{_quality([(n, numbers[n]) for n in ('wide', 'wide-all')])}",
        "\n".join(f"- `{n}`: {_recipe(numbers[n])}" for n in ("wide", "wide-all", "graft")),
        _graft(numbers["graft"]["report"]),
        "### Children\n\nF1 of the best single feature for a child's contexts among the hyphens (feature and cut chosen "
        "on one half, scored on the other), counting only features with at least 20 % of their activation on the "
        "hyphen; in brackets that share.\n\n" + _children(numbers),
        "### Verdicts of the automatic judge\n\n" + _verdicts(numbers),
        f"## Limits\n\n{limits}",
    ]
    return "\n\n".join(parts) + "\n"


def _recipe(one: dict[str, Any]) -> str:
    """What differs from the general defaults."""
    return ", ".join(f"{key} {value}" for key, value in one["recipe"].items()) + "."


def _quality(saes: list[tuple[str, dict[str, Any]]]) -> str:
    lines = ["| | L0 | FVU | dead | CE loss recovered |", "|---|---|---|---|---|"]
    for name, one in saes:
        q = one["quality"]
        lines.append(
            f"| {name} | {q['l0']:.2f} | {q['fvu']:.3f} | {q['dead']:.1%} | {q['ce_recovered']:.3f} |"
        )
    return "\n".join(lines)


def _children(numbers: dict[str, Any]) -> str:
    columns = ("narrow", "wide", "wide-all", "graft")
    lines = [f"| child | hyphens | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for i, child in enumerate(numbers["narrow"]["children"]):
        found = (numbers[column]["children"][i] for column in columns)
        cells = (f"{one['f1']:.2f} ({one['mass']:.0%})" for one in found)
        lines.append(f"| {child['child']} | {child['count']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _graft(report: dict[str, Any]) -> str:
    return (
        f"Graft: {report['hot_tokens']:,} hot tokens; squared error on held-out hot tokens "
        f"{report['error_before']:.1f} → {report['error_after']:.1f}, {report['l0']:.1f} children a token, one at least on "
        f"{report['covered']:.0%}."
    )


def _verdicts(numbers: dict[str, Any]) -> str:
    lines = ["| | verdict | margin · top tokens · logits · contrast |", "|---|---|---|"]
    for name in ("wide", "wide-all", "graft"):
        verdict = numbers[name]["verdict"]
        evidence = "; ".join(
            f"{child}: {' · '.join('none' if n is None else f'{n:.2f}' for n in one['criteria'])}"
            for child, one in verdict["children"].items()
        )
        lines.append(f"| {name} | {verdict['passed']} of {verdict['of']} children | {evidence} |")
    return "\n".join(lines)
