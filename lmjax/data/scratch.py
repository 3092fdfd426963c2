"""Vectors beyond memory: written once to an unnamed temporary file, and read from there."""

from __future__ import annotations

import tempfile
import weakref
from contextlib import contextmanager

import numpy as np

__all__ = ["Scratch"]


class Scratch:
    """A vector that grows in an unnamed temporary file.

    >>> vector = Scratch("i4")
    >>> vector.append([1, 2])
    >>> vector.append([3])
    >>> vector.array().tolist()
    [1, 2, 3]

    Raises:
        OSError: the file cannot be written, as where the disk is full; its directory is named.
    """

    def __init__(self, kind: str, folder=None):
        self.kind, self.folder = kind, str(folder or tempfile.gettempdir())
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        weakref.finalize(self, self.file.raw.close)  # what is still to be written goes with it

    def append(self, values):
        """Add values at the end."""
        with self._room():  # not `tofile`, which says nothing where the disk is full
            self.file.write(np.ascontiguousarray(values, self.kind).data)

    def array(self) -> np.ndarray:
        """Return all values, paged in as they are read; nothing can be added any more."""
        with self._room():
            self.file.flush()
        with self.file:
            if not self.file.tell():  # an empty file cannot be mapped
                return np.zeros(0, self.kind)
            return np.memmap(self.file, self.kind, "r")

    @contextmanager
    def _room(self):
        try:
            yield
        except OSError as error:
            problem = f"{error.strerror}: no room for temporary files, set TMPDIR to another place"
            raise OSError(error.errno, problem, self.folder) from None
