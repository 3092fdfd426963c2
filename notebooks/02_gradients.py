# %% [markdown]
# # Gradients through time
#
# The lecture derives the gradient of a recurrent network as a sum over steps, and shows for the
# linear case that its terms vanish. Here the sum is laid open, the proof is carried out in
# numbers, and then left behind: for the cells in use, eigenvalues alone do not decide.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp

from lmjax import analysis, cells, plot
from lmjax.cell import Cell
from lmjax.cells import initial

FAST = bool(os.environ.get("LMJAX_FAST"))  # small sizes, for the tests
n, length = (4, 12) if FAST else (64, 100)

keys = jax.random.split(jax.random.key(0), 4)
xs = 0.5 * jax.random.normal(keys[0], (length, n))
ys = jnp.stack([jax.random.normal(keys[1], (length,)), jnp.ones(length)], axis=1)  # target, weight
last = ys.at[:-1, 1].set(0)  # the last loss alone
out = jax.random.normal(keys[2], (n,)) / n**0.5


def build(cell):
    """The arguments of every analysis: cell, parameters, s_0, inputs, loss of one step, targets."""
    params = cell.init(keys[3])
    loss = lambda params, state, y: y[1] * (cell.read(params, state) @ out - y[0]) ** 2
    return cell, params, cell.initial_state(params), xs, loss, ys


rnn, lstm = build(cells.rnn(n, n)), build(cells.lstm(n, n, forget_bias=4.0))

# %% [markdown]
# ## The gradient is a sum over steps
#
# $$
# \frac{\partial J_T}{\partial W_h} =
# \sum_t \left. \frac{\partial J_T}{\partial W_h} \right|_{(t)}
# $$
#
# The multivariable chain rule lets $W_h$ be a different matrix at every step, and adds up. A
# step's *share* is the length of its term along the sum: the shares add up to one, and a step
# that pulls the other way has a negative one. Of the last loss alone, $J_T$, hardly any step but
# the last few has a share that can be seen: the gradient vanishes on its way back.

# %%
shares = analysis.bptt_contributions(*rnn[:-1], last).shares.w_h
print(f"the shares of the {length} steps in dJ_T/dW_h add up to {shares.sum():.6f}")
print(f"{(shares < 0).sum()} are negative; the last ten steps make up {shares[-10:].sum():.3f}")
plot.contribution_bars(shares, ylabel=r"share of $\partial J_T/\partial W_h|_{(t)}$")

# %% [markdown]
# ## The linear case
#
# Without an activation $\partial h_i / \partial h_j = W_h^{\,i-j}$, and a gradient is a sum of
# modes $c_k \lambda_k^\ell q_k$. With all $|\lambda_k| < 1$ every one of them dies. The expansion
# is exact: its sum is the norm of the product of Jacobians.

# %%
w_h = initial.spectral(0.9)(keys[3], n)
lags = jnp.arange(length + 1)
modes = analysis.linear_mode_decay(w_h, out, lags)
print(
    f"largest eigenvalue {abs(modes.eigenvalues[0]):.3f}, "
    f"condition of the eigenvectors {modes.condition:.1f}"
)
print(
    f"after {length} steps the gradient is e^{modes.log_norm[-1]:.2f} "
    f"of {jnp.exp(modes.log_norm[0]):.2f}"
)
plot.eigenvalues({"$W_h$": analysis.recurrent_spectrum(w_h).eigenvalues[0]})

# %% [markdown]
# Two things the proof does not say. A matrix need not have a basis of eigenvectors, and then
# there is no such expansion. And "all eigenvalues below one" holds for large lags only: a matrix
# that is far from normal lets the gradient grow first.

# %%
defective = jnp.array([[0.9, 5.0], [0.0, 0.9]])
try:
    analysis.linear_mode_decay(defective, jnp.ones(2), lags)
except ValueError as refusal:
    print(refusal)
spectrum = analysis.recurrent_spectrum(defective)
norms = analysis.jacobian_product_norms(
    jnp.broadcast_to(defective, (100, 2, 2)), ord=2, starts=jnp.array([0])
).log
print(
    f"spectral radius {spectrum.spectral_radius[0]:.2f}, "
    f"departure from normality {spectrum.departure[0]:.2f}"
)
print(f"norm of the power: e^{norms.max():.2f} at its largest, at lag {norms[0].argmax()}")
plot.lag_profiles({"non-normal, radius 0.9": norms}, ylabel=r"$\|W_h^\ell\|$")

# %% [markdown]
# ## The non-linear case
#
# Now the Jacobian changes from step to step, $J_t = \mathrm{diag}(\phi'(z_t))\, W_h$, and the
# eigenvalues of factors say nothing about those of their product. Two relu units that feed each
# other twice their value, and inputs that let one at a time be active: every $J_t$ has the
# eigenvalues 0 and 0, and the gradient doubles at each step.

# %%
switch = cells.rnn(2, 2, activation=jax.nn.relu)
params = switch.init(keys[3])._replace(
    w_x=jnp.eye(2), w_h=jnp.array([[0.0, 2.0], [2.0, 0.0]]), b=jnp.zeros(2)
)
alternating = jnp.where(jnp.arange(20)[:, None] % 2 == jnp.arange(2), 1.0, -1e9)
jacobians = analysis.step_jacobians(switch, params, jnp.ones(2), alternating)
radius = jnp.abs(jnp.linalg.eigvals(jacobians)).max()
norms = analysis.jacobian_product_norms(jacobians, ord=2, starts=jnp.array([0])).log[0]
print(
    f"largest eigenvalue of any J_t: {radius:.1f}; "
    f"norm of the product of 20: 2^{norms[-1] / jnp.log(2):.0f}"
)

# %% [markdown]
# The other way round, a large $W_h$ need not make gradients explode: where the units are
# saturated the slope $\phi'$ is small. Pascanu's bound uses the steepest unit of all on these
# inputs, so that a rate below one makes vanishing certain and one above it decides nothing; the
# Lyapunov exponent is what becomes of it all in the end.

# %%
for radius in (0.3, 1.2, 3.0):
    cell, params, state, *_ = build(cells.rnn(n, n, w_h=initial.spectral(radius)))
    for scale in (0.1, 10.0):
        bounds = analysis.pascanu_bounds(cell, params, state, scale * xs)
        rate = analysis.lyapunov_spectrum(
            cell, params, state, scale * xs, key=keys[0], num_exponents=1
        )
        print(
            f"radius {radius}, inputs of {0.5 * scale:4}: |J_t| <= {bounds.rate:.2f}, "
            f"vanishing is certain: {bounds.vanishes!s:5}, "
            f"exponent {rate.exponents[0]:+.2f} +- {rate.standard_error[0]:.2f}"
        )

# %% [markdown]
# ## Every loss and every state
#
# The whole picture is $\|\partial J_i / \partial h_j\|$ for all $i$ and $j$, here of the
# orthogonal vanilla network. The tanh lets it vanish although $W_h$ itself keeps every norm.

# %%
of_rnn, of_lstm = (analysis.state_gradient_map(*run).log_norm for run in (rnn, lstm))
both = jnp.stack([of_rnn, of_lstm])
limits = both.min(where=jnp.isfinite(both), initial=0), both.max()
plot.gradient_map(of_rnn, limits=limits)

# %% [markdown]
# The same of an LSTM whose forget gates are nearly open, in the same colours:

# %%
plot.gradient_map(of_lstm, limits=limits)

# %% [markdown]
# By lag and relative to the diagonal, so that a small loss is not taken for a vanishing gradient.
# The LSTM is said to carry its gradient along the cell $c_t$; cutting the way through $h$ shows
# how far that is true here.

# %%
bands = {
    "vanilla": analysis.state_gradient_band(*rnn, max_lag=length - 1).log_relative,
    "LSTM": analysis.state_gradient_band(*lstm, max_lag=length - 1).log_relative,
    "LSTM, through $c$ alone": analysis.state_gradient_band(
        analysis.detach(lstm[0], "h"), *lstm[1:], max_lag=length - 1
    ).log_relative,
}
plot.lag_profiles(
    bands, ylabel=r"$\|\partial J_i/\partial h_j\| \,/\, \|\partial J_i/\partial h_i\|$"
)

# %% [markdown]
# ## What truncation misses
#
# Training on chunks cuts the sum after $k$ steps. Where gradients vanish little is lost, where
# they do not, the truncated gradient is another one.

# %%
ks = *(2**k for k in range(8) if 2**k < length), length
curves = {
    name: (ks, analysis.truncation_bias(*args, ks).relative_bias)
    for name, args in {"vanilla": rnn, "LSTM": lstm}.items()
}
plot.truncation_curve(curves)

# %% [markdown]
# ## A cell of your own
#
# Nothing above knows the cell it looks at. Three functions make one, and it has all of it:

# %%
leaky = Cell(
    init=lambda key: {"a": jnp.full(n, 0.95), "w_h": initial.spectral(0.1)(key, n)},
    initial_state=lambda params, batch_shape=(): jnp.zeros((*batch_shape, n)),
    step=lambda params, h, x: params["a"] * h + jnp.tanh(h @ params["w_h"] + x),
)
flow = analysis.state_gradients(*build(leaky))
plot.state_gradients({"leaky, all losses": flow.log_total, "its own loss alone": flow.log_direct})

# %%
if "__file__" in globals():  # run as a script: what a notebook shows goes into files
    print(*plot.save_figures(Path("out/notebooks") / Path(__file__).stem), sep="\n")
