"""A step taken apart, equation by equation: what any cell gives up to be run over time fast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export, lax
from jax.extend import core
from jax.extend.core import primitives

from lmjax import maps

__all__ = ["Turn", "apart", "by_rows", "depends", "evaluate", "kept", "laid_out", "turn", "untransposed"]


def depends(jaxpr, variables) -> set:
    """Return the variables of a jaxpr that depend on the given ones, each equation taken as a whole."""
    variables = set(variables)
    for e in jaxpr.eqns:
        if e.effects or not variables.isdisjoint(_variables(e.invars)):
            variables.update(e.outvars)
    return variables


def _variables(atoms) -> list:
    return [v for v in atoms if isinstance(v, core.Var)]


def _values(atoms, known) -> list:
    return [known[v] if isinstance(v, core.Var) else v.val for v in atoms]


def evaluate(jaxpr, e, known: dict) -> None:
    """Add to the known values of a jaxpr's variables those that one of its equations makes."""
    variables = _variables(e.invars)
    alone = jaxpr.replace(constvars=[], invars=variables, outvars=e.outvars, eqns=[e])
    out = core.jaxpr_as_fun(core.ClosedJaxpr(alone, []))(*[known[v] for v in variables])
    known.update(zip(e.outvars, out, strict=True))


def apart(closed, count: int):
    """Part a jaxpr in what its first arguments alone give and the rest.

    Returns:
        `(once, each, varies)`: f(*first, *others) = each(*once(*first), *others), where `each` is a jaxpr, and for
        each output of f whether it depends on the others.
    """
    jaxpr, first, others = closed.jaxpr, closed.jaxpr.invars[:count], closed.jaxpr.invars[count:]
    varying = depends(jaxpr, others)
    is_late = lambda e: bool(e.effects) or any(v in varying for v in e.outvars)
    early, late = ([e for e in jaxpr.eqns if is_late(e) is it] for it in (False, True))
    used = _variables([*(v for e in late for v in e.invars), *jaxpr.outvars])
    between = [v for v in dict.fromkeys(used) if v not in varying and v not in jaxpr.constvars]
    once = closed.replace(jaxpr=jaxpr.replace(invars=first, outvars=between, eqns=early))
    each = closed.replace(jaxpr=jaxpr.replace(invars=between + others, eqns=late))
    varies = [isinstance(v, core.Var) and v in varying for v in jaxpr.outvars]
    return core.jaxpr_as_fun(once), each, varies


def kept(jaxpr, names, varying) -> tuple[list, list]:
    """Return variables to keep for others, and the equations that make those again, by sums, products and parting.

    Of the others, those that vary are made from what else is kept; and where one more variable gives more than it
    takes, as does sigma(z) its parts and sigma'(z), it is kept in their place.
    """
    keep = dict.fromkeys(_variables(names))
    size = lambda variables: sum(v.aval.size for v in variables)
    for v in (v for e in jaxpr.eqns for v in e.outvars if v in varying):
        of_v = (keep.keys() & _made(_cheap(jaxpr, [v]))) - {v}
        if v not in keep and size(of_v) > size([v]):
            keep = {k: None for k in keep if k not in of_v} | {v: None}
    made = _made(_cheap(jaxpr, keep)) & varying
    left = [v for v in keep if v not in made]
    return left, [e for e in _cheap(jaxpr, left) if not set(left).issuperset(e.outvars)]


def _cheap(jaxpr, known) -> list:
    """Return the equations of a jaxpr that make, by sums, products and parting, further variables from known ones."""
    known, equations = set(known), []
    few = "add", "sub", "mul", "neg", "integer_pow", "split", "one_minus_square"  # JAX 0.12's 1 - tanh^2
    for e in jaxpr.eqns:
        if e.primitive.name in few and known.issuperset(_variables(e.invars)):
            known.update(e.outvars)
            equations.append(e)
    return equations


def _made(equations) -> set:
    return {v for e in equations for v in e.outvars}


def laid_out(closed, weights) -> Callable:
    """Return a jaxpr's function of what comes after `weights`, whose products v W are made side by side.

    Side by side with another part of the batch, see `maps.times`.
    """
    jaxpr, given = _flat(closed, weights)
    products = {e.outvars[0]: _product(e, given[e.invars[1]], side_by_side=True) for e in _products(jaxpr, given)}

    def f(*args):
        known = given | dict(zip(jaxpr.invars[len(weights) :], args, strict=True))
        return _values(jaxpr.outvars, _run(jaxpr, jaxpr.eqns, products, known))

    return f


def _flat(closed, weights):
    """Return a jaxpr that calls no other, and its variables that are known with the first arguments."""
    like = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in closed.jaxpr.invars]
    closed = jax.make_jaxpr(partial(_inlined, closed))(*like)
    constants = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    return closed.jaxpr, constants | dict(zip(closed.jaxpr.invars, weights, strict=False))


def _run(jaxpr, equations, products, known):
    """Add to the known variables those that equations make, some of them by products that were laid out."""
    known = dict(known)
    for e in equations:
        if e.outvars[0] in products:
            known[e.outvars[0]] = products[e.outvars[0]](known[e.invars[0]])
        else:
            evaluate(jaxpr, e, known)
    return known


class Turn(NamedTuple):
    """A turn of a loop, f(weights, *args) = after(*before(room, *args)), parted at its last products."""

    before: Callable
    after: Callable
    room: list[jax.Array]  # memory for what goes from `before` to `after`


def turn(f, weights, *like, fewest: int) -> Turn:
    """Part f at its last products v W^T, W a matrix among `weights`; all are laid out by `maps.times`.

    A loop that carries what lies between, and begins its turns with `after`, has on a CPU the gates of each part
    of the batch on the core that made its product; `fewest` are the rows of the smaller, 0 if there is one. There the
    operands of the last products replace the former ones, put in their place in pieces: XLA else gives the memory of
    one that has been read to the result of the next product, which then waits for the first.
    """
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(weights, *like)
    weights = jax.tree.leaves(weights)
    jaxpr, given = _flat(closed, weights)
    needed = set(_variables(jaxpr.outvars))
    equations: list = []
    for e in reversed(jaxpr.eqns):
        if not needed.isdisjoint(e.outvars):
            needed.update(_variables(e.invars))
            equations.insert(0, e)
    made = {v: e for e in equations for v in e.outvars}
    of_weights = _products(jaxpr.replace(eqns=equations), given)
    products = {e.outvars[0]: _product(e, given[e.invars[1]], maps.beside(fewest)) for e in of_weights}

    late, operands = set(), set()
    for v in products:
        after_v = depends(jaxpr.replace(eqns=equations), [v])
        if after_v.isdisjoint(made[other].invars[0] for other in products):
            late |= after_v
            operands.add(made[v].invars[0])
    early, later = ([e for e in equations if (e.outvars[0] in late) is it] for it in (False, True))
    used = _variables([*(v for e in later for v in e.invars), *jaxpr.outvars])
    between = [v for v in dict.fromkeys(used) if v not in late and v not in given]

    def before(room, *args):
        known = given | dict(zip(jaxpr.invars[len(weights) :], jax.tree.leaves(args), strict=True))
        values = _run(jaxpr, early, products, known)
        put = lambda old, v: _put(old, made.get(v), values[v], values) if fewest and v in operands else values[v]
        return list(map(put, room, between))

    def after(*values):
        known = _run(jaxpr, later, products, given | dict(zip(between, values, strict=True)))
        return jax.tree.unflatten(jax.tree.structure(shapes), _values(jaxpr.outvars, known))

    return Turn(before, after, [jnp.zeros(v.aval.shape, v.aval.dtype) for v in between])


def _inlined(closed, *args):
    """Evaluate a jaxpr; the equations of jitted functions in it stand in the functions' places."""
    jaxpr = closed.jaxpr
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))
    for e in jaxpr.eqns:
        if e.primitive is primitives.jit_p:
            known.update(zip(e.outvars, _inlined(e.params["jaxpr"], *_values(e.invars, known)), strict=True))
        else:
            evaluate(jaxpr, e, known)
    return _values(jaxpr.outvars, known)


def _products(jaxpr, weights) -> list:
    """Return the equations that are v W or v W^T, W a matrix among the weights."""
    sides = ((1,), (0,)), ((1,), (1,))
    matrices = lambda e: e.primitive is lax.dot_general_p and all(v.aval.ndim == 2 for v in e.invars)
    by_weights = lambda e: e.invars[1] in weights and e.invars[0] not in weights
    return [e for e in jaxpr.eqns if matrices(e) and by_weights(e) and e.params["dimension_numbers"][0] in sides]


def _product(e, w, side_by_side):
    """Return v -> v W, or v W^T, made with the precision and type of an equation."""
    w = w if e.params["dimension_numbers"][0] == ((1,), (0,)) else w.T
    dot = partial(e.primitive.bind, **e.params | {"dimension_numbers": (((1,), (0,)), ((), ()))})
    return maps.times(w, left=w.size >= maps.FEW, dot=dot, side_by_side=side_by_side)


CALLS = {getattr(primitives, f"{name}_p") for name in ["jit", "custom_jvp_call", "custom_vjp_call", "remat"]}
ENTRY_BY_ENTRY = (
    "abs acos acosh add add_jaxvals and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy cos cosh "
    "digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p logistic lt "
    "max min mul ne neg nextafter not or pow rem round rsqrt select_n sign sin sinh sqrt square stop_gradient sub tan "
    "tanh xor"
)
REDUCTIONS = "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum"


def _not_both(e, axis):
    left, right = (v.aval.shape[axis : axis + 1] for v in e.invars)
    return left != right


BY_ROWS: dict = {  # of which equations e, and where, a row along the axis depends on the same row alone
    **{getattr(primitives, f"{name}_p"): lambda e, axis: True for name in ENTRY_BY_ENTRY.split()},
    **{getattr(primitives, f"{name}_p"): lambda e, axis: axis not in e.params["axes"] for name in REDUCTIONS.split()},
    **dict.fromkeys([lax.broadcast_in_dim_p, lax.slice_p, lax.squeeze_p, lax.transpose_p], lambda e, axis: True),
    lax.concatenate_p: lambda e, axis: e.params["dimension"] != axis,
    lax.dot_general_p: lambda e, axis: _not_both(e, axis) or all(axis in d for d in e.params["dimension_numbers"][1]),
    lax.gather_p: _not_both,
    lax.pad_p: lambda e, axis: e.params["padding_config"][axis] == (0, 0, 0),
    lax.reshape_p: lambda e, axis: e.invars[0].aval.shape[:axis] == e.outvars[0].aval.shape[:axis],
    lax.split_p: lambda e, axis: e.params["axis"] != axis,
}


def by_rows(encode, step, params, state, xs) -> tuple[int, int]:
    """Return the rows of a batch, and the number of weights by which a step multiplies what depends on the state.

    They are 0 where a cell is not known to treat every row by itself. That is asked of its equations for a batch of b
    rows, b a symbol: they hold for any number of rows if none reads b, and keep the rows apart if each is of a kind
    that does.
    """
    leading = [jnp.shape(s)[:1] for s in jax.tree.leaves(state)]
    leading += [jnp.shape(x)[1:2] for x in jax.tree.leaves(xs) if jnp.ndim(x) > 1]
    if len(set(leading)) != 1 or () in leading:
        return 0, 0
    (b,) = export.symbolic_shape("b")

    def like(axis, x):
        shape = jnp.shape(x)
        shape = (*shape[:axis], b, *shape[axis + 1 :]) if len(shape) > axis else shape
        return jax.ShapeDtypeStruct(shape, jnp.result_type(x))

    try:
        encoded, inputs = jax.make_jaxpr(encode, return_shape=True)(params, jax.tree.map(partial(like, 1), xs))
        first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
        stepped = jax.make_jaxpr(step)(params, jax.tree.map(partial(like, 0), state), first)
    except Exception:  # whatever a cell that must know its rows makes of a symbol
        return 0, 0
    reads_b = "dim_as_value" in f"{encoded} {stepped}"
    if reads_b or not (_alone(encoded.jaxpr, b, 1) and _alone(stepped.jaxpr, b, 0)):
        return 0, 0
    jaxpr, _ = _flat(stepped, [])
    begin, count = (len(jax.tree.leaves(tree)) for tree in (params, state))
    of_state = depends(jaxpr, jaxpr.invars[begin : begin + count])
    dots = [e for e in jaxpr.eqns if e.primitive is lax.dot_general_p and e.invars[0] in of_state]
    weights = sum(e.invars[1].aval.size for e in dots if b not in e.invars[1].aval.shape)
    return (leading[0][0], weights) if weights else (0, 0)


def _alone(jaxpr, b, axis) -> bool:
    """Return whether equations treat what stands along the axis of b entries one by one."""
    has_b = lambda v: b in v.aval.shape
    in_place = lambda v: all(isinstance(d, int) or (k, d) == (axis, b) for k, d in enumerate(v.aval.shape))

    def is_alone(e):
        within = all(_alone(inner, b, axis) for inner in core.jaxprs_in_params(e.params))
        if e.effects or not within or not all(map(in_place, (*e.invars, *e.outvars))):
            return False
        if e.primitive in CALLS or not any(map(has_b, (*e.invars, *e.outvars))):
            return True
        return all(map(has_b, e.outvars)) and BY_ROWS.get(e.primitive, lambda e, axis: False)(e, axis)

    return all(map(is_alone, jaxpr.eqns))


def _put(old, e, value, known):
    """Put a matrix in the place of an old one, in the pieces that the equation e made it of, or in two."""
    pieced = e and e.primitive is lax.concatenate_p and e.params["dimension"] == 1
    pieces = _values(e.invars, known) if pieced else jnp.split(value, [old.shape[1] // 2], 1)
    for piece, column in zip(pieces, accumulate((p.shape[1] for p in pieces), initial=0), strict=False):
        old = lax.dynamic_update_slice(old, piece, (0, column))
    return old


def untransposed(f, *args):
    """Evaluate f with every (a b)^T of matrices made as b^T a^T.

    JAX's gradient of W in h W is the transpose of a product, for which XLA would copy the larger operand, dL/dz,
    in place of h.
    """
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(*args)
    products: dict = {}
    equations = []
    for e in closed.jaxpr.eqns:
        if e.primitive is lax.transpose_p and e.params["permutation"] == (1, 0) and e.invars[0] in products:
            product = products[e.invars[0]]
            (of_a, of_b), batch = product.params["dimension_numbers"]
            parameters = product.params | {"dimension_numbers": ((of_b, of_a), batch)}
            e = product.replace(invars=product.invars[::-1], outvars=e.outvars, params=parameters)
        elif e.primitive is lax.dot_general_p and not any(e.params["dimension_numbers"][1]):  # no batch axes
            products[e.outvars[0]] = e
        equations.append(e)
    out = core.jaxpr_as_fun(closed.replace(jaxpr=closed.jaxpr.replace(eqns=equations)))(*jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shapes), out)
