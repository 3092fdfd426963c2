"""Arguments that are refused wherever they are given."""

__all__ = ["check_positive"]


def check_positive(**numbers: int) -> None:
    """Refuse a number below 1, by the name of the argument.

    >>> check_positive(batch_size=0)
    Traceback (most recent call last):
        ...
    ValueError: batch_size: must be at least 1, got 0
    """
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}: must be at least 1, got {value}")
