"""The softmax trained on a sample of the vocabulary, and scored on all of it."""

from functools import cache

import jax
import jax.numpy as jnp

from lmjax.heads.head import Head
from lmjax.heads.softmax import softmax

__all__ = ["sampled", "sampled_loss", "zipf_log_prob", "zipf_sample"]


@cache
def sampled(n: int, vocab_size: int, *, samples: int = 1024, power: float = 1.0) -> Head:
    """Return the full softmax with an importance-sampled loss.

    All but `loss` are those of `softmax`, and exact. What `loss` returns is an estimate for its
    gradient: it is no likelihood, and no perplexity may be made of it.

    Word 0 must be the most frequent; `data.Vocabulary` numbers words in this order. One draw of
    `samples` words from `zipf_sample` serves all positions of a batch; see `sampled_loss`. Training
    updates the words of the batch and those drawn, see `train.step`.

    Args:
        n: size of the features y.
        vocab_size: V.
        samples: K.
        power: of the proposal; 1 is log-uniform, less is flatter, 0 is uniform.

    >>> from types import SimpleNamespace
    >>> head = sampled(3, 50, samples=20)
    >>> params = SimpleNamespace(head=head.init(jax.random.key(0)))
    >>> head.loss(params, jnp.ones((4, 3)), jnp.arange(4), jax.random.key(1)).shape
    (4,)

    Raises:
        ValueError: `samples` is below 1 or `power` is negative.

    References: Bengio and Senecal (2008); Jozefowicz, Vinyals, Schuster, Shazeer and Wu (2016).
    """
    if samples < 1:
        raise ValueError(f"sampled: samples must be at least 1, got {samples}")
    if power < 0:
        raise ValueError(f"sampled: power must be at least 0, got {power}")

    def draw(key):
        return zipf_sample(key, vocab_size, samples, power)

    def loss(params, y, token, key):
        w, b = params.head
        drawn = draw(key)
        log_q = zipf_log_prob(drawn, vocab_size, power)
        return sampled_loss(w, b, y, token, drawn, log_q)

    def rows(token, key):
        return jnp.concatenate([token.ravel(), draw(key)])

    return softmax(n, vocab_size)._replace(loss=loss, rows=rows)


def sampled_loss(w, b, y, token, drawn, log_q):
    """Return the cross entropy of each target w against K words drawn from q, not all others.

        z_v = u_v . y + b_v
        loss = log( e^{z_w} + sum_{v drawn, v != w} e^{z_v} / (K q_v) ) - z_w

    The sum is unbiased for that over the vocabulary, so the loss tends to the cross entropy as K
    grows. With q uniform and each word drawn once it is the cross entropy. A word drawn twice
    counts twice.

    Args:
        w: `[V, n]`.
        b: `[V]`.
        y: `[..., n]`.
        token: int `[...]`.
        drawn: int `[K]`.
        log_q: `[K]`, log q of what was drawn.

    Returns:
        `[...]`.
    """
    target = jnp.sum(y * w[token], -1) + b[token]
    others = y @ w[drawn].T + (b[drawn] - log_q - jnp.log(len(drawn)))
    others = jnp.where(drawn == token[..., None], -jnp.inf, others)
    return jnp.logaddexp(target, jax.nn.logsumexp(others, -1)) - target


def zipf_sample(key, vocab_size: int, count: int, power: float):
    """Draw words int32 `[count]` with replacement, the r-th most frequent about r^-power often.

    The probabilities have a closed form, `zipf_log_prob`, and a draw costs the same at any V.

    >>> zipf_sample(jax.random.key(0), 10_000, 5, 1.0).shape
    (5,)
    """
    u = jax.random.uniform(key, (count,))
    last = vocab_size + 1.0
    # The inverse of the distribution function of r^-power on [1, V + 1].
    rank = last**u if power == 1 else (1 + u * (last ** (1 - power) - 1)) ** (1 / (1 - power))
    return jnp.clip(rank.astype(jnp.int32) - 1, 0, vocab_size - 1)


def zipf_log_prob(word, vocab_size: int, power: float):
    """Return log q(word): the share of a word in the integral of r^-power.

        q(w) = int_{w+1}^{w+2} r^-power dr / int_1^{V+1} r^-power dr

    >>> jnp.exp(zipf_log_prob(jnp.arange(3), 3, 1.0)).round(2).tolist()
    [0.5, 0.29, 0.21]
    """
    a = 1 - power

    def integral(log_end):
        """Integrate r^-power from 1 on; of the logarithm, for the end may be close to 1."""
        return jnp.expm1(a * log_end) / a if a else log_end

    rank = word + 1.0
    share = integral(jnp.log1p(1 / rank)) / integral(jnp.log(vocab_size + 1))
    return a * jnp.log(rank) + jnp.log(share)
