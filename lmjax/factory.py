"""Factories of cells, heads and models: equal arguments give one and the same result."""

from collections.abc import Callable, Iterable
from functools import cache, wraps
from inspect import Parameter, signature
from reprlib import repr as brief
from types import NoneType
from typing import Any, ParamSpec, TypeVar, get_args, get_origin

from lmjax.checks import real, whole

__all__ = ["factory"]

P = ParamSpec("P")
R = TypeVar("R")


def factory(make: Callable[P, R]) -> Callable[P, R]:
    """Cache a factory, whose arguments are brought to one form first, by their annotations.

    So that what it returns is a static argument of `jax.jit`, traced once. Whole numbers of any
    type become an int, others a float, a list becomes a tuple; what is of another type, or cannot
    be hashed, is refused by name; its `is_no()` may name a type, and say why it is none.

    >>> from typing import NamedTuple
    >>> Sizes = NamedTuple("Sizes", [("cuts", tuple[int, ...])])
    >>> @factory
    ... def sizes(cuts: tuple[int, ...]) -> Sizes:
    ...     return Sizes(cuts)
    >>> sizes([4, 8]), sizes([4, 8]) is sizes(cuts=(4, 8))
    (Sizes(cuts=(4, 8)), True)
    >>> sizes([4.5])
    Traceback (most recent call last):
        ...
    ValueError: sizes: cuts[0]: must be a whole number, got 4.5
    """
    parameters = signature(make, eval_str=True)
    kinds = {name: _kind(parameter) for name, parameter in parameters.parameters.items()}
    remembered = cache(make)

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{make.__name__}: {error}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            bound.arguments[name] = _settled(f"{make.__name__}: {name}", value, kinds[name])
        return remembered(*bound.args, **bound.kwargs)

    return made


def _kind(parameter: Parameter) -> Any:
    """Return the annotation of a parameter as it is bound: `*cells: Cell` is a tuple of them."""
    kind: Any = parameter.annotation
    return tuple[kind, ...] if parameter.kind is Parameter.VAR_POSITIONAL else kind


def _settled(name: str, value: Any, kind: Any) -> Any:
    """Return a value in the one form that its annotation asks for."""
    if NoneType in get_args(kind):
        if value is None:
            return None
        kind = next(k for k in get_args(kind) if k is not NoneType)
    if kind is int:
        return whole(name, value)
    if kind is float:
        return real(name, value)
    if get_origin(kind) is tuple:
        if not isinstance(value, Iterable):
            raise ValueError(f"{name}: must be a tuple, got {brief(value)}")
        each = get_args(kind)[0]
        return tuple(_settled(f"{name}[{i}]", v, each) for i, v in enumerate(value))
    if isinstance(kind, type) and kind is not Parameter.empty and not isinstance(value, kind):
        other, why = value.is_no() if hasattr(value, "is_no") else ("", "")
        said = f"must be a {kind.__name__}, got {brief(value)}"
        raise ValueError(f"{name}: {said}" + (f": {why}" if other == kind.__name__ else ""))
    try:
        hash(value)
    except TypeError:
        raise ValueError(
            f"{name}: must be hashable, as a list is not, got {brief(value)}"
        ) from None
    return value
