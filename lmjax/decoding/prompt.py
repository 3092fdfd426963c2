"""Reading what is already written: the state of a language model after a prompt."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from lmjax.models import LanguageModel, states

__all__ = ["advance", "read_prompt"]


def read_prompt(lm: LanguageModel, params, prompt):
    """Return the state after a prompt, int `[N]`.

    Raises:
        ValueError: the prompt is not one sequence of at least one token.
    """
    tokens = np.asarray(prompt, np.int32)
    if tokens.ndim != 1 or not len(tokens):
        raise ValueError(f"prompt: one sequence of at least one token, got shape {tokens.shape}")
    return advance(lm, params, lm.cell.initial_state(params.cell), tokens)


@partial(jax.jit, static_argnames="lm")
def advance(lm: LanguageModel, params, state, tokens):
    """Return the state after the tokens `[T]`, read from a state on."""
    return states(lm, params, state, tokens)[0]
