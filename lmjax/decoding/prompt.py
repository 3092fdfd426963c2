"""Reading what is already written: the state of a language model after a prompt."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from lmjax.ids import token_ids
from lmjax.models import LanguageModel, states, vocab_size

__all__ = ["advance", "read_prompt"]


def read_prompt(lm: LanguageModel, params, prompt):
    """Return the state after a prompt, int `[N]`.

    Raises:
        ValueError: the prompt is not one sequence of at least one token of the vocabulary, or the
            parameters are not the model's.
    """
    tokens = token_ids("prompt", prompt, vocab_size(lm, params))
    if not len(tokens):
        raise ValueError("prompt: must have at least one token, got none")
    return advance(lm, params, lm.cell.initial_state(params.cell), tokens.astype(np.int32))


@partial(jax.jit, static_argnames="lm")
def advance(lm: LanguageModel, params, state, tokens):
    """Return the state after the tokens `[T]`, read from a state on."""
    return states(lm, params, state, tokens)[0]
