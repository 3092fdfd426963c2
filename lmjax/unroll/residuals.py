"""Residuals: what a linearised step needs on the way back, and when each of them is evaluated.

The step and its derivative are traced into one jaxpr, (params, s_{t-1}, x_t) -> (residuals, s_t),
whose equations are parted in three lists:

    hoisted      depend on the parameters alone: evaluated once, before the loop
    stepwise     depend on s_{t-1} or x_t: evaluated at every step of the loop
    recomputed   those of the second list that cost a sum, a product or a slice, such as sigma'(z) =
                 sigma (1 - sigma): not stored, evaluated again on the way back
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core

from lmjax.tree import combine, partition

__all__ = ["Linearised", "by_dependence", "linearise"]

CHEAP = frozenset(
    # JAX 0.12 has a primitive of its own for 1 - tanh^2
    ["add", "integer_pow", "mul", "neg", "one_minus_square", "slice", "split", "square", "sub"]
)


@dataclass(frozen=True, eq=False)
class Linearised:
    """A step with its derivative, as equations."""

    jaxpr: core.ClosedJaxpr  # params, s_{t-1}, x_t -> residuals, s_t
    hoisted: list
    stepwise: list
    recomputed: list
    params: list  # variables, leaf by leaf
    previous: list  # s_{t-1}
    input: list  # x_t
    state: list  # s_t
    constants: list  # variables that the loop reads and that do not vary with t
    residuals: list  # variables kept for every t
    needed: list  # variables that the derivative is made of
    tree: Any  # structure of (the derivative, s_t)
    like: tuple  # types of the floating leaves of (params, s_{t-1}, x_t)

    def hoist(self, params) -> list:
        """Return the constants of the loop."""
        known = zip(self.params, jax.tree.leaves(params), strict=True)
        return evaluate(self.jaxpr, self.hoisted, dict(known), self.constants)

    def step(self, constants, previous, x):
        """Return s_t and the residuals that only this step knows: not its states, not its input."""
        values = [*constants, *jax.tree.leaves(previous), *jax.tree.leaves(x)]
        variables = [*self.constants, *self.previous, *self.input]
        known = dict(zip(variables, values, strict=True))
        out = evaluate(self.jaxpr, self.stepwise, known, [*self.state, *self.stacked])
        count = len(self.state)
        return jax.tree.unflatten(self.tree.children()[1], out[:count]), out[count:]

    @property
    def stacked(self) -> list:
        """The residuals that the loop stores: states and inputs are there anyway."""
        stored = {*self.previous, *self.input, *self.state}
        return [v for v in self.residuals if v not in stored]

    def gather(self, stacked, previous, xs, states) -> list:
        """Return the residuals of all steps, `[T, ...]`."""
        values = [*stacked, *jax.tree.leaves((previous, xs, states))]
        variables = [*self.stacked, *self.previous, *self.input, *self.state]
        known = dict(zip(variables, values, strict=True))
        return [known[v] for v in self.residuals]

    def derivative(self, constants, residuals) -> Callable:
        """Return (dparams, ds_{t-1}, dx_t) -> ds_t of one step, in the floating leaves of each."""
        variables = [*self.constants, *self.residuals]
        known = dict(zip(variables, [*constants, *residuals], strict=True))
        values = evaluate(self.jaxpr, self.recomputed, known, self.needed)
        return jax.tree.unflatten(self.tree.children()[0], values)


def linearise(step: Callable, params, state, x) -> Linearised:
    """Trace a step and its derivative, and decide which residuals to keep."""

    def with_derivative(params, state, x):
        floating, others = partition((params, state, x))
        new_state = lambda *floating: partition(step(*combine(floating, others)))
        new, derivative, integers = jax.linearize(new_state, *floating, has_aux=True)
        return derivative, combine(new, integers)

    jaxpr, shapes = jax.make_jaxpr(with_derivative, return_shape=True)(params, state, x)
    begin, middle = (len(jax.tree.leaves(tree)) for tree in (params, (params, state)))
    inputs, outputs = jaxpr.jaxpr.invars, jaxpr.jaxpr.outvars
    count = len(outputs) - (middle - begin)
    needed, new_state = outputs[:count], outputs[count:]

    hoisted, stepwise, varying = by_dependence(jaxpr.jaxpr, inputs[begin:])
    residuals, recomputed = choose_residuals(stepwise, needed, varying)
    read = [*(v for e in stepwise for v in e.invars), *outputs]
    constants = [v for v in unique(read) if v not in varying and v not in jaxpr.jaxpr.constvars]
    return Linearised(
        jaxpr,
        hoisted,
        stepwise,
        recomputed,
        params=inputs[:begin],
        previous=inputs[begin:middle],
        input=inputs[middle:],
        state=new_state,
        constants=constants,
        residuals=residuals,
        needed=needed,
        tree=jax.tree.structure(shapes),
        like=tuple(jax.tree.map(jax.typeof, partition(tree)[0]) for tree in (params, state, x)),
    )


def by_dependence(jaxpr, inputs) -> tuple[list, list, set]:
    """Part equations into those that do not depend on the given inputs, and those that do.

    Returns:
        Both lists, and the variables that depend on the inputs. An equation with an effect, such as
        a print, counts as one that does.
    """
    varying, constant, dependent = set(inputs), [], []
    for e in jaxpr.eqns:
        if e.effects or not varying.isdisjoint(unique(e.invars)):
            varying.update(e.outvars)
            dependent.append(e)
        else:
            constant.append(e)
    return constant, dependent, varying


def choose_residuals(equations: list, needed: list, varying: set) -> tuple[list, list]:
    """Return the variables to keep for every step, and the equations that make the others again.

    First, where one variable more gives cheaply more than it takes, as sigma(z) gives its parts and
    sigma'(z), it is kept in their place. Then what others give cheaply is dropped.
    """

    def cheap(known) -> list:
        """Return the equations that make more from known variables and constants."""
        known, found = set(known), []
        for e in equations:
            reads = [v for v in unique(e.invars) if v in varying]
            if e.primitive.name in CHEAP and known.issuperset(reads):
                known.update(e.outvars)
                found.append(e)
        return found

    made_by = lambda found: {v for e in found for v in e.outvars}
    size = lambda variables: sum(v.aval.size for v in variables)
    kept = [v for v in unique(needed) if v in varying]
    for v in (v for e in equations for v in e.outvars):
        given = made_by(cheap([v])).intersection(kept)
        if v not in kept and size(given) > size([v]):
            kept = [v, *(k for k in kept if k not in given)]
    given = made_by(cheap(kept))
    kept = [v for v in kept if v not in given]
    return kept, [e for e in cheap(kept) if not set(kept).issuperset(e.outvars)]


def evaluate(jaxpr: core.ClosedJaxpr, equations: list, known: dict, wanted: list) -> list:
    """Return the values of wanted variables, by these equations of a jaxpr from known ones."""
    part = jaxpr.jaxpr.replace(invars=list(known), outvars=wanted, eqns=equations)
    return core.jaxpr_as_fun(jaxpr.replace(jaxpr=part))(*known.values())


def unique(atoms) -> list:
    """Return the variables among the operands of equations, each once."""
    return list(dict.fromkeys(v for v in atoms if isinstance(v, core.Var)))
