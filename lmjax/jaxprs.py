"""A step taken apart, equation by equation: what any cell gives up to be run over time fast."""

from __future__ import annotations

from functools import partial

import jax
from jax import lax
from jax.extend import core

from lmjax import maps

__all__ = ["apart", "cheap", "depends", "evaluate", "laid_out", "untransposed"]


def depends(jaxpr, variables) -> set:
    """Return the variables of a jaxpr that depend on the given ones, each equation taken as a whole."""
    variables = set(variables)
    for e in jaxpr.eqns:
        if e.effects or any(v in variables for v in e.invars if isinstance(v, core.Var)):
            variables.update(e.outvars)
    return variables


def evaluate(jaxpr, e, known: dict) -> None:
    """Add to the known values of a jaxpr's variables those that one of its equations makes."""
    variables = [v for v in e.invars if isinstance(v, core.Var)]
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
    used = [v for v in [*(v for e in late for v in e.invars), *jaxpr.outvars] if isinstance(v, core.Var)]
    between = [v for v in dict.fromkeys(used) if v not in varying and v not in jaxpr.constvars]
    once = closed.replace(jaxpr=jaxpr.replace(invars=first, outvars=between, eqns=early))
    each = closed.replace(jaxpr=jaxpr.replace(invars=between + others, eqns=late))
    varies = [isinstance(v, core.Var) and v in varying for v in jaxpr.outvars]
    return core.jaxpr_as_fun(once), core.jaxpr_as_fun(each), varies


def cheap(jaxpr, known) -> list:
    """Return the equations of a jaxpr that make, by sums and products, further variables from the known ones."""
    known, equations = set(known), []
    primitives = lax.add_p, lax.sub_p, lax.mul_p, lax.neg_p, lax.integer_pow_p
    for e in jaxpr.eqns:
        if e.primitive in primitives and all(v in known for v in e.invars if isinstance(v, core.Var)):
            known.add(e.outvars[0])
            equations.append(e)
    return equations


def laid_out(f, weights, *like):
    """Return args -> f(weights, *args), with every v W^T of matrices W of `weights` laid out by `maps.times`."""
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(weights, *like)
    jaxpr, weights = closed.jaxpr, jax.tree.leaves(weights)
    given = dict(zip(jaxpr.invars, weights, strict=False)) | dict(zip(jaxpr.constvars, closed.consts, strict=True))

    def instead(e):
        """Return what makes a product, v -> v W^T, with its precision and type, or None."""
        matrices = e.primitive is lax.dot_general_p and all(v.aval.ndim == 2 for v in e.invars)
        if not (matrices and e.invars[1] in given and e.params["dimension_numbers"][0] == ((1,), (1,))):
            return None
        w, parameters = given[e.invars[1]], e.params | {"dimension_numbers": (((1,), (0,)), ((), ()))}
        return maps.times(w.T, left=w.size >= maps.FEW, dot=partial(e.primitive.bind, **parameters))

    needed, equations = {v for v in jaxpr.outvars if isinstance(v, core.Var)}, []
    for e in reversed(jaxpr.eqns):
        if e.effects or not needed.isdisjoint(e.outvars):
            needed.update(v for v in e.invars if isinstance(v, core.Var))
            equations.insert(0, (e, instead(e)))

    def laid(*args):
        known = given | dict(zip(jaxpr.invars[len(weights) :], jax.tree.leaves(args), strict=True))
        for e, product in equations:
            if product:
                known[e.outvars[0]] = product(known[e.invars[0]])
            else:
                evaluate(jaxpr, e, known)
        out = [known[v] if isinstance(v, core.Var) else v.val for v in jaxpr.outvars]
        return jax.tree.unflatten(jax.tree.structure(shapes), out)

    return laid


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
