"""Softmax heads that are trained on a sample of the vocabulary, and scored on all of it.

One draw of K words serves all positions of a batch. What the losses return is an estimate for its
gradient: it is no likelihood, and no perplexity may be made of it. Training updates the words of
the batch and those drawn, see `train.step`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid

from lmjax.checks import check_positive
from lmjax.factory import factory
from lmjax.heads.head import Head, check_targets
from lmjax.heads.proposals import Proposal, zipf
from lmjax.heads.softmax import softmax, tied
from lmjax.ids import nan_loss_outside

__all__ = ["blackout_loss", "nce_loss", "sampled", "sampled_loss"]


def sampled_loss(own, others, token, drawn, log_q):
    """Return the cross entropy of each target w against K words drawn from q, not all others.

        loss = log( e^{z_w} + sum_{v drawn, v != w} e^{z_v} / (K q_v) ) - z_w

    The sum is unbiased for that over the vocabulary, so the loss tends to the cross entropy as K
    grows. With q uniform and each word drawn once it is the cross entropy. A word drawn twice
    counts twice.

    Args:
        own: `[...]`, the logits z_w of the targets.
        others: `[..., K]`, the logits z_v of the words drawn.
        token: int `[...]`, the targets, words of the vocabulary.
        drawn: int `[K]`.
        log_q: words -> log q of them.

    Returns:
        `[...]`.

    References: Bengio and Senecal (2008); Jozefowicz, Vinyals, Schuster, Shazeer and Wu (2016).
    """
    hit = drawn == token[..., None]
    others = jnp.where(hit, -jnp.inf, others - log_q(drawn) - jnp.log(len(drawn)))
    return jnp.logaddexp(own, jax.nn.logsumexp(others, -1)) - own


def nce_loss(own, others, token, drawn, log_q):
    """Return the loss of telling each target from K words drawn from q.

        loss = -log sigmoid(z_w - log K q_w) - sum_{v drawn} log sigmoid(log K q_v - z_v)

    As K grows its gradient tends to that of the cross entropy, where the e^{z_v} sum to one; they
    are driven to do so. Arguments and result as for `sampled_loss`.

    References: Gutmann and Hyvarinen (2010); Mnih and Teh (2012).
    """
    log_noise = lambda words: log_q(words) + jnp.log(len(drawn))
    noise = log_sigmoid(log_noise(drawn) - others).sum(-1)
    return -log_sigmoid(own - log_noise(token)) - noise


def blackout_loss(own, others, token, drawn, log_q):
    """Return the loss of choosing each target w, and none of K words drawn from q.

        p_v = e^{z_v} / q_v / ( e^{z_w} / q_w + sum_{u drawn, u != w} e^{z_u} / q_u )
        loss = -log p_w - sum_{v drawn, v != w} log(1 - p_v)

    Without the second sum it is the importance-sampled softmax of these weights. Arguments and
    result as for `sampled_loss`; the source takes q = unigram^power with a power from 0.1 to 0.4.

    References: Ji, Vishwanathan, Satish, Anderson and Dubey (2016).
    """
    hit = drawn == token[..., None]
    own, others = own - log_q(token), others - log_q(drawn)
    total = jnp.logaddexp(own, jax.nn.logsumexp(jnp.where(hit, -jnp.inf, others), -1))
    below = jnp.where(hit, -1, others - total[..., None])  # log p_v
    # in float32 the greatest p_v may be rounded to 1
    refused = jnp.log1p(-jnp.minimum(jnp.exp(below), 1 - jnp.finfo(below.dtype).eps))
    return total - own - jnp.where(hit, 0, refused).sum(-1)


@factory
def sampled(
    n: int,
    vocab_size: int,
    *,
    loss: Callable = sampled_loss,
    samples: int = 1024,
    proposal: Proposal | None = None,
    share_embedding: bool = False,
) -> Head:
    """Return the full softmax, trained by a loss on K words that are drawn from q.

    All but `loss` are those of `softmax`, and exact. The bias begins at log q: the model begins as
    about q, which need not be learned then, and the e^{z_v} with a sum of one, as `nce_loss` needs.

    Args:
        n: size of the features y.
        vocab_size: V.
        loss: `sampled_loss`, `nce_loss`, `blackout_loss`, or a function of their arguments.
        samples: K.
        proposal: q, default `zipf(V)`, for which word 0 must be the most frequent, as
            `data.Vocabulary` numbers them.
        share_embedding: take the embedding's rows for u_w, as `tied` does.

    >>> from types import SimpleNamespace
    >>> head = sampled(3, 50, samples=20)
    >>> params = SimpleNamespace(head=head.init(jax.random.key(0)))
    >>> head.loss(params, jnp.ones((4, 3)), jnp.arange(4), jax.random.key(1)).shape
    (4,)

    Raises:
        ValueError: `samples` is below 1.
    """
    check_positive(samples=samples)
    q = zipf(vocab_size) if proposal is None else proposal
    full = tied(vocab_size) if share_embedding else softmax(n, vocab_size)
    weights = lambda params: (params.embed, params.head) if share_embedding else params.head

    def init(key):
        bias = q.log_prob(jnp.arange(vocab_size))
        return bias if share_embedding else full.init(key)._replace(b=bias)

    def of_sample(params, y, token, key, extra=_nothing):
        check_targets(y, token)
        w, b = weights(params)
        word, drawn = jnp.clip(token, 0, vocab_size - 1), q.draw(key, samples)
        own, others = extra(word, drawn)
        own += jnp.sum(y * w[word], -1) + b[word]
        others += y @ w[drawn].T + b[drawn]
        return nan_loss_outside(loss(own, others, word, drawn, q.log_prob), token, vocab_size)

    def rows(token, key):
        return jnp.concatenate([token.ravel(), q.draw(key, samples)])

    return full._replace(init=init, loss=of_sample, rows=rows)


def _nothing(token, drawn):
    """Return what is added to the logits of targets and of words drawn by default."""
    return 0.0, 0.0
