"""Ctrl-C and SIGTERM: noted at once, acted on where nothing is half done.

An exception out of a signal handler may fall into a step whose old state is gone, or into a
callback of the garbage collector, which drops it. So a handler here notes first.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

__all__ = ["Signals", "handled", "held"]

INSIST = 1.0  # seconds; what follows sooner is the same signal, sent by a wrapper once more


class Signals(NamedTuple):
    """The signals that are held back."""

    check: Callable[[], None]  # raise `KeyboardInterrupt(number)` if one came
    heard: Callable[[], AbstractContextManager]  # a block in which one is raised where it falls


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
def held() -> Iterator[Signals]:
    """Hold SIGINT and SIGTERM back until they are asked for, at the latest to the block's end.

    Whoever signals again after a second does not want to wait: that is raised where it falls.

    >>> from contextlib import suppress
    >>> with suppress(KeyboardInterrupt), held() as signals:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     print("nothing is half done")
    ...     signals.check()
    ...     print("never said")
    nothing is half done
    """
    came: list[tuple[float, int]] = []

    def check():
        if came:
            raise KeyboardInterrupt(came[0][1])

    def note(number, frame):
        came.append((time.monotonic(), number))
        if came[-1][0] - came[0][0] > INSIST:
            check()

    def note_and_raise(number, frame):
        came.append((time.monotonic(), number))
        check()

    with handled(note):
        yield Signals(check, lambda: handled(note_and_raise))
    check()
