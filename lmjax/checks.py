"""Arguments that are refused wherever they are given."""

import math
import operator
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from numbers import Number
from reprlib import repr as brief

__all__ = ["check_above_zero", "check_positive", "fitting", "real", "whole"]


def whole(name: str, value) -> int:
    """Return a whole number of any type as an int, or refuse what is none.

    >>> whole("n", 8.0)
    Traceback (most recent call last):
        ...
    ValueError: n: must be a whole number, got 8.0
    """
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: must be a whole number, got {brief(value)}") from None


def real(name: str, value) -> float:
    """Return a number of any type as a float, or refuse what is none, NaN among it.

    >>> real("top_p", math.nan)
    Traceback (most recent call last):
        ...
    ValueError: top_p: must be a number, got nan
    """
    number = math.nan
    if isinstance(value, Number) or getattr(value, "shape", None) == ():
        with suppress(TypeError):  # of a complex number
            number = float(value)
    if math.isnan(number):
        raise ValueError(f"{name}: must be a number, got {brief(value)}")
    return number


def check_positive(**numbers: int) -> None:
    """Refuse what is no whole number, or one below 1, by the name of the argument.

    >>> check_positive(batch_size=0)
    Traceback (most recent call last):
        ...
    ValueError: batch_size: must be at least 1, got 0
    """
    for name, value in numbers.items():
        if whole(name, value) < 1:
            raise ValueError(f"{name}: must be at least 1, got {value}")


def check_above_zero(**numbers: float) -> None:
    """Refuse a number that is not above 0 and finite, by the name of the argument.

    >>> check_above_zero(lr=-1.0)
    Traceback (most recent call last):
        ...
    ValueError: lr: must be positive and finite, got -1.0
    """
    for name, value in numbers.items():
        if not 0 < real(name, value) < math.inf:
            raise ValueError(f"{name}: must be positive and finite, got {value}")


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Name what does not fit where parts that others have made are put together.

    >>> with fitting("stack: cell 2 does not take vectors of 4"):
    ...     raise TypeError("got (4,) and (8,)")
    Traceback (most recent call last):
        ...
    ValueError: stack: cell 2 does not take vectors of 4: got (4,) and (8,)
    """
    try:
        yield
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{what}: {str(error).partition(chr(10))[0][:160]}") from error
