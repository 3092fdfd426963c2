"""The laws of the protocols, as checks that a user's own cell or head can be put through.

    check_cell(cell, key, x)        check_head(head, key, y, vocab_size)

Training, scoring, generation and diagnosis rely on these laws and on nothing else.
Each law is a function that returns what is wrong, or None; `CELL_LAWS` and `HEAD_LAWS` list them.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lmjax.cell import Cell
from lmjax.heads import Head
from lmjax.models import Params
from lmjax.tree import combine, is_floating, partition
from lmjax.unroll import scan, unroll

__all__ = ["CELL_LAWS", "HEAD_LAWS", "ProtocolError", "check_cell", "check_head"]

STEPS = 6  # of a sequence, and rows of a batch
BATCHES = (STEPS,), (2, STEPS // 2)
TOLERANCE = 1e-12  # in float64, relative to the greatest value compared; others by their precision


class ProtocolError(AssertionError):
    """A law of the protocol is broken; `law` is its name."""

    def __init__(self, law: str, statement: str, given: str):
        super().__init__(f"{law}: must hold: {statement} {given}")
        self.law = law


class _CellCase(NamedTuple):
    cell: Cell
    key: jax.Array
    params: Any
    x: Any  # of one step of one sequence
    xs: Any  # [STEPS, 2, ...]  all different, but for integers


class _HeadCase(NamedTuple):
    head: Head
    key: jax.Array
    params: Params
    y: jax.Array  # [STEPS, n]  all different, but for integers
    token: jax.Array  # int [STEPS]
    vocab_size: int


def check_cell(cell: Cell, key, x) -> None:
    """Check that a cell keeps the laws of the `Cell` protocol, listed in `CELL_LAWS`.

    Parameters and inputs are drawn in x64, in the precision of the cell's initial state. Inputs
    are `x` with noise of scale 0.1 on its floating leaves.

    Args:
        cell: the cell.
        key: draws parameters and noise.
        x: the input of one step of one sequence: a pytree without time or batch axes.

    Raises:
        ProtocolError: a law is broken; the message says which, what was given and what is allowed.

    >>> leaky = Cell(
    ...     init=lambda key: jax.random.normal(key, (3, 4)),
    ...     initial_state=lambda w, batch_shape=(): jnp.zeros((*batch_shape, 4)),
    ...     step=lambda w, h, x: 0.9 * h + jnp.tanh(x @ w),
    ... )
    >>> check_cell(leaky, jax.random.key(0), jnp.ones(3))
    >>> mixed = leaky._replace(step=lambda w, h, x: leaky.step(w, h - h.mean(0), x))
    >>> check_cell(mixed, jax.random.key(0), jnp.ones(3))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    lmjax.testing.ProtocolError: rows: must hold: ...
    """
    with jax.enable_x64(True):
        k_params, k_noise, k_case = jax.random.split(key, 3)
        params = cell.init(k_params)
        dtype = _precision(cell.initial_state(params))
        x = _cast(jax.tree.map(jnp.asarray, x), dtype)
        xs = _varied(k_noise, x, (STEPS, 2))
        _check(CELL_LAWS, _CellCase(cell, k_case, _cast(params, dtype), x, xs))


def check_head(head: Head, key, y, vocab_size: int) -> None:
    """Check that a head keeps the laws of the `Head` protocol, listed in `HEAD_LAWS`.

    Parameters and features are drawn in x64, in the precision of the head's own parameters. The
    head is given an embedding `[V, n]` of the size of `y`, or its own, and no parameters of a cell.

    Args:
        head: the head.
        key: draws parameters, features, tokens and the samples of a sampled loss.
        y: `[n]`, the features at one position; noise of scale 0.1 is added.
        vocab_size: V.

    Raises:
        ProtocolError: a law is broken; the message says which, what was given and what is allowed.

    >>> from lmjax import heads
    >>> check_head(heads.softmax(3, 5), jax.random.key(0), jnp.ones(3), 5)
    """
    with jax.enable_x64(True):
        k_head, k_embed, k_noise, k_token, k_case = jax.random.split(key, 5)
        own = head.init(k_head)
        dtype = _precision(own)
        if head.embedding is None:
            embed = jax.random.normal(k_embed, (vocab_size, *jnp.shape(y)[-1:]), dtype)
        else:
            embed = _cast(head.embedding.init(k_embed), dtype)
        params = Params(embed, (), own)
        features = _varied(k_noise, _cast(jnp.asarray(y), dtype), (STEPS,))
        token = jax.random.randint(k_token, (STEPS,), 0, vocab_size)
        _check(HEAD_LAWS, _HeadCase(head, k_case, params, features, token, vocab_size))


def _check(laws, case) -> None:
    """Raise an error that names the first law that is broken."""
    for law in laws:
        name = law.__name__.strip("_")
        try:
            given = law(case)
        except Exception as error:  # whatever a user's function raises is that law's finding
            given = f"The functions raised {type(error).__name__}: {error}"
            raise ProtocolError(name, law.__doc__, given) from error
        if given:
            raise ProtocolError(name, law.__doc__, given)


# --- the laws of a cell ---------------------------------------------------------------------------


def _state(case: _CellCase) -> str | None:
    """step(params, s, x) has the structure, shapes and dtypes of s = initial_state(params)."""
    cell, params = case.cell, case.params

    def step(state, x):
        return cell.step(params, state, cell.encode(params, x))

    state = cell.initial_state(params)
    return _unlike("The state", jax.eval_shape(step, state, case.x), state)


def _initial_state(case: _CellCase) -> str | None:
    """initial_state(params, batch_shape) is initial_state(params), repeated for every row."""
    one = case.cell.initial_state(case.params)
    for shape in ((), (2,), (2, 3)):
        repeated = jax.tree.map(lambda s, b=shape: jnp.broadcast_to(s, (*b, *jnp.shape(s))), one)
        found = case.cell.initial_state(case.params, shape)
        if given := _difference(f"initial_state(params, {shape})", found, repeated):
            return given
    return None


def _finite(case: _CellCase) -> str | None:
    """s_1..s_T and d f(s_1..s_T) / d(params, s_0, x_1..x_T) are finite."""
    state = case.cell.initial_state(case.params)
    xs = jax.tree.map(lambda x: x[:, 0], case.xs)
    run = jax.jit(partial(_states_and_gradients, scan, case.cell))
    return _infinite(run(case.params, state, xs))


def _pure(case: _CellCase) -> str | None:
    """Equal arguments give equal results: a second time, and under jit, and nothing leaks."""
    cell = case.cell

    def call(key, params, x):
        state = cell.initial_state(params)
        return cell.init(key), state, _called(cell, params, state, x)

    arguments = case.key, case.params, case.x
    first, second = call(*arguments), call(*arguments)
    with jax.checking_leaks():
        compiled = jax.jit(call)(*arguments)
    again = {"The second time": second, "Under jit": compiled}
    return _first(_difference(how, found, first) for how, found in again.items())


def _rows(case: _CellCase) -> str | None:
    """f(params, [row_1, row_2, ...]) = [f(params, row_1), ...] for f = encode, step and read."""

    def call(params, rows):
        by_rows = lax.map(lambda row: _called(case.cell, params, *row), rows)
        batches = [_batched(shape, rows) for shape in BATCHES]
        found = [_called(case.cell, params, *batch) for batch in batches]
        return found, [_batched(shape, by_rows) for shape in BATCHES]

    rows = _reached(case), jax.tree.map(lambda x: x[:, 1], case.xs)
    results = zip(BATCHES, *jax.jit(call)(case.params, rows), strict=True)
    return _first(_difference(f"On a batch {list(b)}", *found) for b, *found in results)


def _encode(case: _CellCase) -> str | None:
    """encode(params, xs)_t = encode(params, xs_t): an input depends on no other step."""
    encode = case.cell.encode

    @jax.jit
    def call(params, xs):
        return encode(params, xs), lax.map(lambda x: encode(params, x), xs)

    return _difference("encode(params, xs)", *call(case.params, case.xs))


def _unroll(case: _CellCase) -> str | None:
    """Unroll = scan: states, and gradients in params, s_0 and xs; forward, in reverse, masked."""
    state = jax.tree.map(lambda s: s[:2], _reached(case))
    mask = jnp.arange(STEPS)[:, None] < jnp.array([STEPS, 2])
    ways: dict[str, dict] = {"forward": {}, "reverse": {"reverse": True}, "masked": {"mask": mask}}

    @jax.jit
    def call(*arguments):
        def by(run, way):
            return _states_and_gradients(run, case.cell, *arguments, **way)

        return [(by(unroll, way), by(scan, way)) for way in ways.values()]

    results = zip(ways, call(case.params, state, case.xs), strict=True)
    return _first(_difference(f"unroll, {way}: ", *found) for way, found in results)


class _Called(NamedTuple):
    encode: Any
    step: Any
    read: Any


def _called(cell, params, state, x) -> _Called:
    """Return what the functions of a cell make of the state and input of one step."""
    # A time axis of one: what encode does across time is a law of its own.
    sequence = cell.encode(params, jax.tree.map(lambda x: x[None], x))
    inputs = jax.tree.map(lambda x: x[0], sequence)
    new = cell.step(params, state, inputs)
    return _Called(inputs, new, cell.read(params, new))


def _states_and_gradients(run, cell, params, state, xs, **way):
    """Return the states of a run, and the gradient of a sum in which each has its own weight."""
    floating, others = partition((params, state, xs))

    def total(floating):
        _, states = run(cell, *combine(floating, others), **way)
        return sum(map(_weighted, jax.tree.leaves(partition(states)[0])), 0.0), states

    gradients, states = jax.grad(total, has_aux=True)(floating)
    return {"states": states, **dict(zip(("params", "s_0", "xs"), gradients, strict=True))}


def _weighted(x):
    weight = jnp.cos(jnp.arange(x.size)).reshape(x.shape)
    return jnp.sum(weight * (jnp.real(x) + jnp.imag(x)))


def _reached(case: _CellCase):
    """Return s_0..s_{T-1} of one sequence: T different states, in the cell's own range."""
    state = case.cell.initial_state(case.params)
    xs = jax.tree.map(lambda x: x[:, 0], case.xs)
    _, states = scan(case.cell, case.params, state, xs)

    def with_first(s, later):
        return jnp.concatenate([jnp.asarray(s)[None], later[:-1]])

    return jax.tree.map(with_first, state, states)


CELL_LAWS = (_state, _initial_state, _finite, _pure, _rows, _encode, _unroll)


# --- the laws of a head ---------------------------------------------------------------------------


def _sum(case: _HeadCase) -> str | None:
    """sum_w P(w | y) = 1."""
    logp = case.head.log_probs(case.params, case.y)
    total = jnp.exp(jax.nn.logsumexp(logp, -1))
    return _difference("The sum over log_probs", total, jnp.ones_like(total))


def _log_prob(case: _HeadCase) -> str | None:
    """log_prob(params, y, w) = log_probs(params, y)[w] for every word w."""
    y, words = case.y[0], jnp.arange(case.vocab_size)
    repeated = jnp.broadcast_to(y, (case.vocab_size, *y.shape))
    found = case.head.log_prob(case.params, repeated, words)
    return _difference("log_prob", found, case.head.log_probs(case.params, y))


def _broadcast(case: _HeadCase) -> str | None:
    """f(params, [y_1, y_2, ...]) = [f(params, y_1), ...] for f = log_probs and log_prob."""
    head, params = case.head, case.params

    def called(params, position):
        y, token = position
        return head.log_probs(params, y), head.log_prob(params, y, token)

    def call(params, positions):
        one_by_one = lax.map(partial(called, params), positions)
        found = [called(params, _batched(shape, positions)) for shape in BATCHES]
        return found, [_batched(shape, one_by_one) for shape in BATCHES]

    results = zip(BATCHES, *jax.jit(call)(params, (case.y, case.token)), strict=True)
    return _first(_difference(f"On a batch {list(b)}", *found) for b, *found in results)


def _finite_loss(case: _HeadCase) -> str | None:
    """The loss at every position and its gradient in params and y are finite."""
    return _infinite(_loss_and_gradient(case))


def _loss(case: _HeadCase) -> str | None:
    """loss(params, y, w, key) = -log_prob(params, y, w) unless the head has `rows`."""
    if case.head.rows is not None:
        return None
    found = case.head.loss(case.params, case.y, case.token, case.key)
    return _difference("The loss", found, -case.head.log_prob(case.params, case.y, case.token))


def _touched_rows(case: _HeadCase) -> str | None:
    """The loss reads of params.head, and of a shared embedding, the rows(w, key) alone."""
    if case.head.rows is None:
        return None
    touched = case.head.rows(case.token, case.key)

    def spoiled(leaf):
        """Keep the touched rows of a leaf, with NaN in all others."""
        if not is_floating(leaf):
            return leaf
        return jnp.full_like(leaf, jnp.nan).at[touched].set(leaf[touched])

    shared = ("head", "embed") if case.head.shares_embedding else ("head",)
    changed = case.params._replace(
        **{part: jax.tree.map(spoiled, getattr(case.params, part)) for part in shared}
    )
    found = case.head.loss(changed, case.y, case.token, case.key)
    expected = case.head.loss(case.params, case.y, case.token, case.key)
    return _difference("With NaN in all other rows the loss", found, expected)


def _loss_and_gradient(case: _HeadCase):
    floating, others = partition((case.params, case.y))

    def total(floating):
        params, y = combine(floating, others)
        losses = case.head.loss(params, y, case.token, case.key)
        return _weighted(losses), losses

    gradients, losses = jax.jit(jax.grad(total, has_aux=True))(floating)
    return {"loss": losses, "params": gradients[0], "y": gradients[1]}


HEAD_LAWS = (_sum, _broadcast, _log_prob, _finite_loss, _loss, _touched_rows)


# --- what the laws are made of --------------------------------------------------------------------


def _unlike(name: str, found, expected) -> str | None:
    """Tell whether two pytrees differ in structure, shape or dtype."""
    given, allowed = (jax.tree.map(_described, tree) for tree in (found, expected))
    return None if given == allowed else f"{name} is {given}, allowed is {allowed}"


def _described(x) -> str:
    return f"{jnp.result_type(x)}{list(jnp.shape(x))}"


def _difference(name: str, found, expected) -> str | None:
    """Tell whether two pytrees differ by more than rounding."""
    if given := _unlike(name, found, expected):
        return given
    values = [np.asarray(x) for x in jax.tree.leaves(expected)]
    finite = [np.abs(x[np.isfinite(x)]) for x in values]
    scale = max((float(x.max(initial=0)) for x in finite), default=0.0)
    allowed = TOLERANCE * float(jnp.finfo(_precision(expected)).eps / jnp.finfo(jnp.float64).eps)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(found), values, strict=True):
        error = _distance(np.asarray(x), y)
        if not error <= allowed * scale:  # NaN is not
            where = f"{name}{jax.tree_util.keystr(path)}"
            return f"{where} is off by {error:.1e}, allowed is {allowed:.0e} of {scale:.1e}"
    return None


def _distance(x, y) -> float:
    """Return the greatest difference of two arrays; equal infinities are at none."""
    if x.dtype == bool:
        return float((x != y).any())
    with np.errstate(invalid="ignore"):
        return float(np.where(x == y, 0, np.abs(x - y)).max(initial=0))


def _infinite(tree) -> str | None:
    """Tell which leaf holds NaN or infinity."""
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        if not jnp.isfinite(x).all():
            count = int((~jnp.isfinite(x)).sum())
            return (
                f"{jax.tree_util.keystr(path)} has {count} of {x.size} values that are not finite"
            )
    return None


def _first(findings) -> str | None:
    return next(filter(None, findings), None)


def _precision(tree):
    """Return the real dtype that a pytree's floating leaves have together, float64 without any."""
    dtypes = [jnp.result_type(x) for x in jax.tree.leaves(tree) if is_floating(x)]
    return jnp.finfo(jnp.result_type(*dtypes) if dtypes else jnp.float64).dtype


def _cast(tree, dtype):
    """Cast real floating leaves."""

    def cast(x):
        return x.astype(dtype) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x

    return jax.tree.map(cast, tree)


def _varied(key, tree, shape):
    """Repeat a pytree along leading axes, with noise on its floating leaves."""

    def vary(x):
        repeated = jnp.broadcast_to(x, (*shape, *x.shape))
        if not is_floating(x):
            return repeated
        return repeated + 0.1 * jax.random.normal(key, repeated.shape).astype(x.dtype)

    return jax.tree.map(vary, tree)


def _batched(shape, rows):
    """Reshape the leading axis of every leaf."""
    return jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), rows)
