"""A small language model, and its distributions by brute force."""

import jax.numpy as jnp
import numpy as np

from lmjax import cells, heads, models
from lmjax.unroll import scan

V, N = 11, 6
LM = models.recurrent(cells.lstm(N, N), vocab_size=V)
TIED = models.recurrent(cells.gru(N, N), vocab_size=V, head=heads.tied(V))


def brute_log_probs(lm, params, tokens):
    """log P(. | tokens_1..t) for every t, by the plain scan and the definition of the softmax."""
    _, states = scan(
        lm.cell, params.cell, lm.cell.initial_state(params.cell), params.embed[jnp.asarray(tokens)]
    )
    w, b = (params.embed, params.head) if lm is TIED else params.head
    p = jnp.exp(lm.cell.read(params.cell, states) @ w.T + b)
    return np.log(p / p.sum(-1, keepdims=True))
