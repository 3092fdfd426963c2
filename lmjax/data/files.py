"""Files of text, compressed or not: what the first bytes say, whatever the name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["COMPRESSED", "create_text", "excerpt", "open_text"]


def _zstd(file, mode="rb"):
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.open(file, mode)


def _gzip(file, mode="rb"):
    return gzip.open(file, mode, compresslevel=6)


# ending of the name, how such a file begins, and what opens it
FORMATS: list[tuple[str, re.Pattern[bytes], Any]] = [
    (".gz", re.compile(rb"\x1f\x8b"), _gzip),
    (".bz2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), bz2.open),
    (".xz", re.compile(rb"\xfd7zXZ\x00"), lzma.open),
    (".zst", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _zstd),
]
COMPRESSED = tuple(ending for ending, _, _ in FORMATS)


@contextmanager
def open_text(path) -> Iterator[Any]:
    """Open a file to read its bytes, unpacked if they are gzip, bzip2, xz or Zstandard.

    The file is read once, so it can be a pipe.

    Raises:
        ValueError: what is compressed is cut short or damaged; the file is named.
    """
    with Path(path).open("rb") as file:
        head = file.peek(10)
        unpack = next((opener for _, begin, opener in FORMATS if begin.match(head)), None)
        if unpack is None:
            yield file
            return
        try:
            with unpack(file) as text:
                yield text
        except Exception as error:
            damaged = isinstance(error, (EOFError, zlib.error, lzma.LZMAError))
            damaged |= isinstance(error, OSError) and error.errno is None  # gzip's and bz2's
            if damaged or type(error).__name__ == "ZstdError":  # a module imported at need
                raise ValueError(f"{path}: {error}") from None
            raise


def create_text(path) -> BinaryIO:
    """Open a file to write bytes, compressed if its name ends in one of `COMPRESSED`."""
    for ending, _, opener in FORMATS:
        if str(path).endswith(ending):
            return opener(path, "wb")
    return Path(path).open("wb")


def excerpt(found: bytes | str, limit: int = 60) -> str:
    r"""Return the start of what was read as a message can show it: short and printable.

    >>> excerpt("the cat " * 1000, 8), excerpt(b"caf\xe9\x1b[2J")
    ('the cat ...', 'caf\ufffd\ufffd[2J')
    """
    cut = found[: 4 * limit + 4]
    text = cut if isinstance(cut, str) else cut.decode(errors="replace")
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text[:limit])
    return shown + "..." * (len(text) > limit)
