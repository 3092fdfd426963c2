"""What glibc does with memory that a process has freed."""

import ctypes

__all__ = ["GLIBC", "keep_memory"]

GLIBC = {  # by environment variable: the number of mallopt(3), the value
    "MALLOC_ARENA_MAX": (-8, 1),  # one heap for all threads
    "MALLOC_MMAP_MAX_": (-4, 0),  # large blocks lie in it too
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),  # and it does not shrink
}


def keep_memory() -> None:
    """Let the process keep what it frees: a step finds its memory where the last one left it.

    XLA asks for the working memory of a step on a CPU anew at every call. Blocks above 32 MB glibc
    gives back to the system when they are freed, and gets again page by page, each cleared, in 5 to
    15 % of the time of a step. Call this before the first computation; the process then stays as
    large as it once was. It does what the environment variables of `GLIBC` do, and nothing where
    another C library stands in its place.

    >>> keep_memory()
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (TypeError, AttributeError):  # Windows; macOS, musl
        return
    for number, value in GLIBC.values():
        mallopt(number, value)
