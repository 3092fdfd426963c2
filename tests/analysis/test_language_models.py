"""Every diagnosis of the library's own language models, all their parameters, by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import check_contributions, flat, log_norm, shifted

from lmjax import analysis, cells, heads, models

V, N, T = 7, 3, 3
GRU, LSTM = cells.gru(N, N), cells.lstm(N, N)
HEADS = {
    "tied": heads.tied(V),
    "adaptive": heads.adaptive(N, V, cutoffs=(2, 5)),
    "class_factored": heads.class_factored(N, V, classes=3),
}
MODELS = {name: models.recurrent(LSTM, vocab_size=V, head=head) for name, head in HEADS.items()}
MODELS["stack"] = models.recurrent(cells.stack(LSTM, GRU), vocab_size=V)


@pytest.mark.parametrize("name", MODELS)
def test_contributions_maps_profiles_and_truncation_are_those_of_brute_force(name, key):
    lm = MODELS[name]
    cell, loss = models.as_cell(lm)
    params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(key, p.shape), cell.init(key))
    tokens = jax.random.randint(key, (T + 1,), 0, V)
    state = cell.initial_state(params)
    run = cell, params, state, tokens[:-1], loss, tokens[1:]

    def losses(state, shifts, untied):
        """Losses of a run whose states are shifted, and whose parameters are of each step."""

        def body(s, at_t):
            shift, p, x, y = at_t
            inputs = lm.cell.encode(p.cell, lm.embed(p.embed, x[None]))
            one = jax.tree.map(lambda v: v[0], inputs)
            s = shifted(lm.cell.step(p.cell, s, one), shift)
            return s, -lm.head.log_prob(p, lm.cell.read(p.cell, s), y)

        return jax.lax.scan(body, state, (shifts, untied, tokens[:-1], tokens[1:]))[1]

    untied = jax.tree.map(lambda p: jnp.broadcast_to(p, (T, *p.shape)), params)
    at = state, jnp.zeros((T, flat(state).size)), untied
    brute = jax.jit(lambda *a: (losses(*a), jax.jacrev(losses, argnums=(0, 1, 2))(*a)))
    values, (by_start, by_state, by_step) = brute(*at)
    start = jnp.stack([flat(jax.tree.map(lambda x, i=i: x[i], by_start)) for i in range(T)])
    by_step = jax.tree.map(lambda g: g.sum(0), by_step)

    found = analysis.bptt_contributions(*run)
    check_contributions(found, by_step, jax.tree.map(lambda g: g.sum(0), by_step))
    np.testing.assert_allclose(flat(found.initial), start.sum(0), atol=1e-12)
    field = analysis.state_gradient_map(*run)
    np.testing.assert_allclose(field.losses, values, atol=1e-12)
    np.testing.assert_allclose(field.log_norm, log_norm(by_state), atol=1e-10)
    np.testing.assert_allclose(field.log_initial, log_norm(start), atol=1e-10)
    profile = analysis.state_gradients(*run)
    np.testing.assert_allclose(profile.log_total, log_norm(by_state.sum(0)), atol=1e-10)
    np.testing.assert_allclose(profile.log_initial, log_norm(start.sum(0)), atol=1e-10)
    whole = analysis.truncation_bias(*run, ks=T)
    np.testing.assert_allclose(whole.relative_bias, 0, atol=1e-12)
