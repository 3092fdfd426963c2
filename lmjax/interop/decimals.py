"""Numbers as text, many at a time: the shortest decimals that give the same float32."""

from __future__ import annotations

import numpy as np

__all__ = ["WIDTH", "decimals"]

WIDTH = 20
_POWERS = 10.0 ** np.arange(23)  # exact
_DIGITS = np.array([list(b"%03d" % i) for i in range(1000)], np.uint8)


def decimals(values) -> tuple[np.ndarray, np.ndarray]:
    """Write each float32 as the shortest decimal that is read back as the same number.

    Args:
        values: float32 `[K]`, finite.

    Returns:
        `(text, length)`: bytes uint8 `[K, WIDTH]`, of which the first `length[i]` are used.

    >>> text, length = decimals(np.array([-0.30103, 0, -12.5, -1e-7], np.float32))
    >>> [bytes(t[:n]).decode() for t, n in zip(text, length)]
    ['-0.30103', '0', '-12.5', '-1e-7']

    References: Steele and White (1990) for shortest decimals.
    """
    values = np.asarray(values, np.float32)
    size = np.abs(values)
    plain = (size >= 1e-6) & (size < 1e3)
    exact = np.where(plain, size, 1).astype(np.float64)
    exponent = np.floor(np.log10(exact)).astype(np.int64)
    power = _POWERS[8 - exponent]
    scaled = exact * power
    number = np.rint(scaled)  # nine digits always do
    for zeros in (10.0, 100.0, 1000.0):
        shorter = np.rint(scaled / zeros) * zeros
        number = np.where((shorter / power).astype(np.float32) == exact.astype(np.float32), shorter, number)
    exponent += number >= 1e9
    number = np.where(number >= 1e9, number / 10, number).astype(np.int64)
    digits = np.hstack([_DIGITS[number // 10**6], _DIGITS[number // 1000 % 1000], _DIGITS[number % 1000]])
    count = 9 - (digits[:, ::-1] != ord("0")).argmax(1)  # up to the last that is not 0
    text = np.empty((len(values), WIDTH), np.uint8)
    length = np.empty(len(values), np.int64)
    negative = values < 0
    for kind in np.unique(2 * exponent[plain] + negative[plain]):
        e, sign = kind // 2, b"-" * (kind % 2)
        rows = np.flatnonzero(plain & (exponent == e) & (negative == kind % 2))
        head, whole = (sign, e + 1) if e >= 0 else (sign + b"0." + b"0" * (-e - 1), 9)
        begin, n = len(head), count[rows]
        text[rows, :begin] = np.frombuffer(head, np.uint8)
        text[rows, begin : begin + whole] = digits[rows, :whole]
        text[rows, begin + whole] = ord(".")
        text[rows, begin + whole + 1 : begin + 10] = digits[rows, whole:]
        length[rows] = begin + (np.where(n > whole, n + 1, whole) if e >= 0 else n)
    text[values == 0, 0], length[values == 0] = ord("0"), 1
    for i in np.flatnonzero(~plain & (values != 0)):
        written = str(values[i]).removesuffix(".0").replace("e-0", "e-").replace("e+", "e").encode()
        text[i, : len(written)], length[i] = list(written), len(written)
    return text, length
