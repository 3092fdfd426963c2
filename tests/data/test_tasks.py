"""The tasks are what they say; their baselines are the best losses without memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax.data import tasks

BATCH = 4000
ALL = [tasks.adding(30), tasks.copy_memory(5, 3, 8), tasks.temporal_order(33)]


def guess(task, xs, ys):
    """What is best without memory: the mean, or the frequencies of the targets at each step."""
    if task.n_out == 1:
        return jnp.ones((*xs.shape[:2], 1))
    frequencies = jax.nn.one_hot(ys, task.n_out).mean(-2, keepdims=True)
    return jnp.broadcast_to(jnp.log(frequencies + 1e-12), (*xs.shape[:2], task.n_out))


@pytest.mark.parametrize("task", ALL)
def test_the_baseline_is_the_loss_of_the_best_guess_without_memory(task, key):
    xs, ys = task.sample(key, BATCH)
    assert xs.shape[1:] == (BATCH, task.n_in)
    np.testing.assert_allclose(task.loss(guess(task, xs, ys), ys), task.baseline, rtol=0.03)


@pytest.mark.parametrize("task", ALL)
def test_a_sample_is_a_pure_function_of_its_key(task, key):
    one, same, other = (
        jax.device_get(task.sample(k, BATCH)) for k in (key, key, jax.random.key(1))
    )
    chex.assert_trees_all_equal(one, same)
    assert not np.array_equal(one[0], other[0])


def test_equal_arguments_give_an_equal_task():
    assert tasks.adding(20) is tasks.adding(20)
    assert hash(tasks.copy_memory(4)) == hash(tasks.copy_memory(4))


@pytest.mark.parametrize("length", [2, 7, 30])
def test_adding_marks_one_number_of_each_half(key, length):
    xs, ys = map(np.asarray, tasks.adding(length).sample(key, BATCH))
    u, m = xs[..., 0], xs[..., 1]
    np.testing.assert_array_equal(m[: length // 2].sum(0), 1)
    np.testing.assert_array_equal(m[length // 2 :].sum(0), 1)
    np.testing.assert_allclose((u * m).sum(0), ys)
    assert u.min() >= 0 and u.max() < 1 and (m.sum(1) > 0).all()  # every step is marked somewhere
    exact = np.broadcast_to(ys[:, None], (length, BATCH, 1))
    assert tasks.adding(length).loss(exact, ys) == 0


@pytest.mark.parametrize(("delay", "symbols", "alphabet"), [(1, 1, 1), (5, 3, 8), (30, 10, 2)])
def test_copy_memory_says_its_symbols_again_after_the_delay(key, delay, symbols, alphabet):
    task = tasks.copy_memory(delay, symbols, alphabet)
    xs, ys = map(np.asarray, task.sample(key, BATCH))
    tokens = xs.argmax(-1)
    assert len(xs) == len(ys) == delay + 2 * symbols
    np.testing.assert_array_equal(tokens[:symbols], ys[-symbols:])
    np.testing.assert_array_equal(
        np.flatnonzero(tokens[:, 0] == alphabet + 1), [delay + symbols - 1]
    )
    assert (tokens[symbols : delay + symbols - 1] == 0).all() and (
        tokens[delay + symbols :] == 0
    ).all()
    assert (ys[:-symbols] == 0).all() and ys[-symbols:].min() >= 1 and ys.max() <= alphabet
    np.testing.assert_allclose(task.loss(1e3 * jax.nn.one_hot(ys, task.n_out), ys), 0, atol=1e-12)
    np.testing.assert_allclose(task.baseline, symbols * np.log(alphabet) / (delay + 2 * symbols))


@pytest.mark.parametrize("length", [10, 33, 100])
def test_temporal_order_hides_two_symbols_in_their_tenths(key, length):
    xs, ys = map(np.asarray, tasks.temporal_order(length).sample(key, BATCH))
    tokens = xs.argmax(-1)
    said = tokens < 2
    np.testing.assert_array_equal(said.sum(0), 2)
    places = np.sort(np.argsort(~said, axis=0, kind="stable")[:2], axis=0)
    for place, tenth in zip(places, (1, 5), strict=True):
        assert (place >= tenth * length // 10).all() and (place < (tenth + 1) * length // 10).all()
    first, second = np.take_along_axis(tokens, places, axis=0)
    np.testing.assert_array_equal(ys, 2 * first + second)
    # chance is 1/4
    np.testing.assert_allclose(np.bincount(ys, minlength=4) / BATCH, 0.25, atol=0.03)


@pytest.mark.parametrize(
    "make", [lambda: tasks.adding(1), lambda: tasks.copy_memory(0), lambda: tasks.temporal_order(9)]
)
def test_sizes_without_room_for_the_task_are_refused(make):
    with pytest.raises(ValueError, match="must be at least"):
        make()
