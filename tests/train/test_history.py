"""A history is kept line by line: what a checkpoint knows of it is read back, however it ended."""

import json
import math

import numpy as np
import pytest

from lmjax.train import History, learning_curve
from lmjax.train.history import Extent, append, read


def history(steps, every=7):
    rng = np.random.default_rng(0)
    loss, norm = rng.random((2, steps)).tolist()
    valid = [[9 * k, rng.random()] for k in range(every, steps + 1, every)]
    return History([9 * k for k in range(1, steps + 1)], loss, norm, valid)


def until(whole, step):
    valid = [pair for pair in whole.valid if pair[0] <= 9 * step]
    return History(*(column[:step] for column in whole[:3]), valid, whole.sampled)


def test_what_is_appended_in_parts_is_read_back_to_the_last_digit(tmp_path):
    whole, held = history(50), Extent()
    for step in (3, 3, 21, 50):
        held = append(tmp_path / "h", until(whole, step), held)
        assert read(tmp_path / "h", held) == until(whole, step)
    assert len((tmp_path / "h").read_text().splitlines()) == 50 + 7


@pytest.mark.parametrize("left", [b"", b'{"tokens": 270, "lo', b'{"tokens": 1, "valid": 2.0}\n'])
def test_what_a_crash_left_behind_the_checkpoint_is_dropped(tmp_path, left):
    whole, file = history(50), tmp_path / "h"
    held = append(file, until(whole, 21), Extent())
    append(file, until(whole, 30), held)  # and no checkpoint after it
    with file.open("ab") as stream:
        stream.write(left)
    assert read(file, held) == until(whole, 21)
    assert read(file, append(file, whole, held)) == whole


def test_numbers_that_json_lacks_are_null(tmp_path):
    odd = History([1], [math.nan], [math.inf], [[1, math.inf]])
    held = append(tmp_path / "h", odd, Extent())
    for line in (tmp_path / "h").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    again = read(tmp_path / "h", held)
    assert np.isnan([again.loss[0], again.norm[0], again.valid[0][1]]).all()


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), lambda f: f.write_bytes(b"x\n" * 500)])
def test_a_damaged_history_is_named(tmp_path, damage):
    held = append(tmp_path / "h", history(20), Extent())
    damage(tmp_path / "h")
    with pytest.raises(ValueError, match=r"h: should begin with 20 steps and 2 validations"):
        read(tmp_path / "h", held)


def test_a_curve_of_three_million_steps_is_the_running_mean():
    steps = 3_000_000
    loss = np.linspace(5, 4, steps)
    seen, perplexity, _ = learning_curve(History(list(range(steps)), loss.tolist(), [], []))
    width = steps // 50
    assert 1000 < len(seen) < 4000
    np.testing.assert_allclose(np.log(perplexity), loss[seen] + (width - 1) / 2 / (steps - 1))
