"""A step taken apart, equation by equation: what any cell gives up to be run over time fast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.extend.core import primitives

from lmjax import maps

__all__ = ["Turn", "apart", "cheap", "depends", "evaluate", "turn", "untransposed"]


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
        `(once, each, varies)`: f(*first, *others) = each(*once(*first), *others), and for each output of f
        whether it depends on the others.
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
    return core.jaxpr_as_fun(once), core.jaxpr_as_fun(each), varies


def cheap(jaxpr, known) -> list:
    """Return the equations of a jaxpr that make, by sums and products, further variables from the known ones."""
    known, equations = set(known), []
    sums = lax.add_p, lax.sub_p, lax.mul_p, lax.neg_p, lax.integer_pow_p
    for e in jaxpr.eqns:
        if e.primitive in sums and known.issuperset(_variables(e.invars)):
            known.add(e.outvars[0])
            equations.append(e)
    return equations


class Turn(NamedTuple):
    """A turn of a loop, f(weights, *args) = after(*before(room, *args)), parted at its last products.

    `of(part, replace)` returns `(before, after)` for a part of the rows, a slice; see `turn` for what is replaced.
    """

    of: Callable
    room: list[jax.Array]  # memory for what goes from `before` to `after`
    rows: int  # the leading axis of all args, where f treats row by row; else 0
    weights: int  # the number of those it multiplies by


def turn(f, weights, *like) -> Turn:
    """Part f at its last products v W^T, W a matrix among `weights`; all are laid out by `maps.times`.

    A loop that carries what lies between, and begins its turns with `after`, has on a CPU the gates of each part
    of the rows on the core that made its product. There the operands of the last products are to replace the former
    ones, put in their place in pieces: XLA else gives the memory of one that has been read to the result of the next
    product, which then waits for the first.
    """
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(weights, *like)
    closed = jax.make_jaxpr(partial(_inlined, closed))(*jax.tree.leaves((weights, *like)))
    jaxpr, weights = closed.jaxpr, jax.tree.leaves(weights)
    given = dict(zip(jaxpr.constvars, closed.consts, strict=True)) | dict(zip(jaxpr.invars, weights, strict=False))
    arguments = jaxpr.invars[len(weights) :]

    needed = set(_variables(jaxpr.outvars))
    equations: list = []
    for e in reversed(jaxpr.eqns):
        if not needed.isdisjoint(e.outvars):
            needed.update(_variables(e.invars))
            equations.insert(0, e)
    made = {e.outvars[0]: e for e in equations}
    both_ways = lambda e, w: [_product(e, w, side_by_side) for side_by_side in (False, True)]
    products = {v: both_ways(e, given[e.invars[1]]) for v, e in made.items() if _is_product(e, given)}

    late, operands = set(), set()
    for v in products:
        after_v = depends(jaxpr.replace(eqns=equations), [v])
        if after_v.isdisjoint(made[other].invars[0] for other in products):
            late |= after_v
            operands.add(made[v].invars[0])
    used = _variables([*(v for e in equations if e.outvars[0] in late for v in e.invars), *jaxpr.outvars])
    between = [v for v in dict.fromkeys(used) if v not in late and v not in given]
    cut = _cut(equations, products, arguments)
    cut = cut if cut.issuperset(between) else set()

    def of(part, replace):
        side_by_side = replace and maps.beside(part.stop - part.start)
        known = {v: a[part] if v in cut else a for v, a in given.items()}

        def run(known, is_late):
            for v, e in made.items():
                if (v in late) is not is_late:
                    continue
                if v in products:
                    known[v] = products[v][side_by_side](known[e.invars[0]])
                    continue
                if v in cut and e.primitive is lax.broadcast_in_dim_p:
                    e = e.replace(params=e.params | {"shape": (part.stop - part.start, *v.aval.shape[1:])})
                evaluate(jaxpr, e, known)
            return known

        def before(room, *args):
            values = run(known | dict(zip(arguments, jax.tree.leaves(args), strict=True)), is_late=False)
            put = lambda old, v: _put(old, made.get(v), values[v], values) if replace and v in operands else values[v]
            return list(map(put, room, between))

        def after(*values):
            values = run(known | dict(zip(between, values, strict=True)), is_late=True)
            return jax.tree.unflatten(jax.tree.structure(shapes), _values(jaxpr.outvars, values))

        return before, after

    room = [jnp.zeros(v.aval.shape, v.aval.dtype) for v in between]
    rows = next(iter(cut)).aval.shape[0] if cut else 0
    return Turn(of, room, rows, sum(made[v].invars[1].aval.size for v in products))


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


def _is_product(e, weights) -> bool:
    """Return whether an equation is v W^T, W among the weights."""
    matrices = e.primitive is lax.dot_general_p and all(v.aval.ndim == 2 for v in e.invars)
    return matrices and e.invars[1] in weights and e.params["dimension_numbers"][0] == ((1,), (1,))


def _product(e, w, side_by_side):
    """Return v -> v W^T, made with the precision and type of an equation."""
    parameters = e.params | {"dimension_numbers": (((1,), (0,)), ((), ()))}
    dot = partial(e.primitive.bind, **parameters)
    return maps.times(w.T, left=w.size >= maps.FEW, dot=dot, side_by_side=side_by_side)


BY_ROWS = {  # of what equation, with what parameters, a row of the result depends on the same row alone
    **dict.fromkeys([lax.add_p, primitives.add_jaxvals_p, lax.sub_p, lax.mul_p, lax.div_p], lambda p: True),
    **dict.fromkeys([lax.neg_p, lax.integer_pow_p, lax.select_n_p, lax.convert_element_type_p], lambda p: True),
    lax.concatenate_p: lambda p: p["dimension"] > 0,
    lax.split_p: lambda p: p["axis"] > 0,
    lax.pad_p: lambda p: p["padding_config"][0] == (0, 0, 0),
}


def _cut(equations, products, arguments) -> set:
    """Return the arrays `[rows, ...]` that shrink with the arguments, were these cut to some of their rows.

    They are none if there is no product, or an equation not known to treat row by row.
    """
    rows = arguments[-1].aval.shape[:1]
    many = lambda v: v.aval.shape[:1] > (1,)
    cut = set(arguments)
    for e in equations:
        product = e.outvars[0] in products
        arrays = [v for v in e.invars[: 1 if product else None] if many(v)]
        by_rows = product or BY_ROWS.get(e.primitive, lambda p: False)(e.params)
        if not (by_rows or (e.primitive is lax.broadcast_in_dim_p and not arrays)):
            return set()
        cut.update(arrays, filter(many, e.outvars))
    return cut if products and all(many(v) and v.aval.shape[:1] == rows for v in cut) else set()


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
