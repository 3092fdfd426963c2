"""Vectors in temporary files: all is there that was put in, or an error says why not."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmjax.data.scratch import Scratch


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5), max_size=9))
def test_all_is_there_in_order(parts):
    vector = Scratch("i4")
    for part in parts:
        vector.append(part)
    assert vector.array().tolist() == [x for part in parts for x in part]


def test_strided_values_are_stored_as_they_are():
    vector = Scratch("i8")
    vector.append(np.arange(12).reshape(3, 4)[:, 1])
    assert vector.array().tolist() == [1, 5, 9]


CROWDED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from lmjax import data
from lmjax.models.ngram import external
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a file that grows too large is an OSError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    if sys.argv[2] == "corpus":
        print(len(data.directory(sys.argv[3]).train))
    else:
        order, ids = np.arange(3000)[:, None], np.ones(3000, int)
        grams = np.concatenate([order % 999 + 1, order + 2], 1)
        external.assemble([(grams, ids)], 2, size=9999, eos=0, folder=sys.argv[3])
        print("counted")
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["corpus", "counts"])
@pytest.mark.parametrize("limit", [100, 5000])  # before and after a buffer has been written
def test_a_full_disk_is_an_error_that_names_it(tmp_path, what, limit):
    """No file may grow beyond the limit, as on a disk that is full: nothing is read short."""
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("a b c d\n" * 1300)
    words = [sys.executable, "-W", "error", "-c", CROWDED, str(limit), what, str(tmp_path)]
    done = subprocess.run(words, env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True)
    assert f"set TMPDIR to another place: '{tmp_path}'" in done.stdout, done.stderr
    assert done.stderr == ""
