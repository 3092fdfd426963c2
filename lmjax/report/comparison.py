"""Networks beside an n-gram model on one text: which predicts it best, where, and why."""

from __future__ import annotations

import numpy as np

from lmjax.report.page import Section

__all__ = ["comparison"]


def comparison(
    score: dict[str, float], logp: dict, seen, weights: dict[str, float], words: int
) -> tuple[Section, dict]:
    """Set a network, an n-gram model and their mixture side by side, with others if there are any.

    Args:
        score: the perplexity of each model, by name.
        logp: log-probability `[N]` of every token, by name; one may be missing.
        seen: bool `[N]`, whether the n-gram model has seen the n - 1 words before the token.
        weights: the network's name and the n-gram model's, with their weights in the mixture, whose
            name in `score` is the two joined by " + ".
        words: how many words all were trained on.

    Returns:
        The section, and the perplexity of the tokens after words seen and after others,
        `{"seen": {name: ...}, "not seen": {name: ...}}`; a part without tokens is left out.
    """
    network, ngram = weights
    mixed = f"{network} + {ngram}"
    ranked = sorted(score, key=score.__getitem__)
    split = {
        part: {
            name: float(np.exp(-np.asarray(values, float)[where].mean()))
            for name, values in logp.items()
        }
        for part, where in (("seen", seen), ("not seen", ~seen))
        if where.any()
    }
    alone = next(name for name in ranked if name != mixed)
    finding = f"Alone, {alone} predicts best: {score[alone]:.1f}. "
    finding += f"The mixture {mixed} has {score[mixed]:.1f}."
    text = f"Lower is better; all are scored on the same {len(seen):,} tokens. "
    if len(split) == 2:
        after, otherwise = split["seen"], split["not seen"]
        text += (
            f"{np.mean(seen):.0%} of them follow words that the {ngram} has seen in this order: "
            f"there it has {after[ngram]:.1f} and {network} {after[network]:.1f}, after other "
            f"words {otherwise[ngram]:.1f} and {otherwise[network]:.1f}. "
        )
    if score[ngram] < score[network]:
        text += (
            f"On little text, {words:,} words, it pays to remember: an n-gram model keeps every "
            "sequence it has read once, a small network after few epochs the frequent ones alone. "
            "In the lecture's table, from about a billion words, a Kneser-Ney 5-gram has 67.6 and "
            "a large LSTM 30. "
        )
    parts = ", ".join(f"{weight:.2f} {name}" for name, weight in weights.items())
    text += f"The mixture's weights are those that suit the validation text best: {parts}."
    head = ("model", "all tokens", *(f"after words {part}" for part in split))
    shown = lambda part, name: f"{part[name]:.1f}" if name in part else ""
    rows = [(name, *(shown(part, name) for part in (score, *split.values()))) for name in ranked]
    return Section(
        "Perplexity exp J(θ) on the test text", finding, text, table=(head, *rows)
    ), split
