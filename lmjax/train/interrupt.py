"""Ctrl-C and SIGTERM while training: noted at once, acted on where nothing is half done."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["at_once", "handled", "held"]

INSIST = 1.0  # seconds; what follows sooner is the same signal, sent by a wrapper once more


def at_once(number, frame=None):
    """Raise `KeyboardInterrupt(number)`: a signal handler."""
    raise KeyboardInterrupt(number)


@contextmanager
def handled(handler: Callable) -> Iterator[None]:
    """Give SIGINT and SIGTERM a handler, and their own ones back afterwards.

    What is ignored stays ignored. Only the main thread has signals: elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {n: old for n, old in before.items() if old not in (None, signal.SIG_IGN)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Hold SIGINT and SIGTERM back; yield a function that raises the one that came.

    It raises `KeyboardInterrupt(number)`, and so does the end of the block. Whoever signals again
    after a second does not want to wait: that raises wherever it falls.

    >>> with held() as check:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     print("nothing is half done")
    ...     check()
    Traceback (most recent call last):
        ...
    KeyboardInterrupt: Signals.SIGTERM
    """
    came: list[tuple[int, float]] = []

    def note(number, frame):
        now = time.monotonic()
        if came and now - came[0][1] > INSIST:
            at_once(number)
        came.append((number, now))

    def check():
        if came:
            at_once(came[0][0])

    with handled(note):
        yield check
    check()
