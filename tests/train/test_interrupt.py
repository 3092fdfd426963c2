"""Signals wait for the end of a step, and are not lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import pytest
from toy import SMALL

from lmjax import train
from lmjax.train import interrupt, loop

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_held_back_and_then_raised(number):
    before, reached = signal.getsignal(number), []
    with pytest.raises(KeyboardInterrupt) as raised, interrupt.held() as check:
        signal.raise_signal(number)
        signal.raise_signal(number)  # at once: the same one, sent by a wrapper again
        reached.append("the end of the step")
        check()
    assert reached and raised.value.args == (number,) and signal.getsignal(number) == before


def test_a_signal_after_the_last_check_is_raised_at_the_end():
    with pytest.raises(KeyboardInterrupt), interrupt.held():
        signal.raise_signal(signal.SIGINT)


def test_a_second_signal_does_not_wait(monkeypatch):
    monkeypatch.setattr(interrupt, "INSIST", 0.0)
    with pytest.raises(KeyboardInterrupt), interrupt.held():
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal waited")


def test_what_is_ignored_stays_ignored_and_other_threads_have_no_signals():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.held() as check:
            signal.raise_signal(signal.SIGINT)
            check()
    finally:
        signal.signal(signal.SIGINT, before)
    with interrupt.held():
        done = []
        thread = threading.Thread(target=lambda: done.append(interrupt.held().__enter__()))
        thread.start()
        thread.join()
    assert done


@pytest.mark.parametrize("place", ["_validate", "step"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_that_got_a_signal_goes_on_as_if_it_had_not(
    noise, tmp_path, monkeypatch, place, number
):
    options = {"epochs": 2, "batch_size": 4, "bptt": 10, "transform": train.optimizer(steps=12)}
    run = lambda **more: train.fit(SMALL, noise, jax.random.key(0), **options, **more)
    whole, called, real = run(), [], getattr(loop, place)

    def interrupted(*args, **kwargs):
        called.append(place)
        if len(called) == 2:
            signal.raise_signal(number)
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, place, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(out=tmp_path)
    assert (tmp_path / "last.safetensors").exists() and len(called) == 2
    monkeypatch.undo()
    assert run(out=tmp_path, resume=True).history == whole.history


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "wait"), [(signal.SIGINT, 0.0), (signal.SIGTERM, 0.7)])
def test_the_command_ends_quietly_wherever_a_signal_falls(tmp_path, number, wait):
    words = "a b c d\n" * 400
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(words)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else a child ignores it too
    command = f"-m lmjax.cli train --corpus {tmp_path} --out {tmp_path}/r --cell rnn --hidden 4"
    with subprocess.Popen(
        [sys.executable, *command.split(), "--epochs", "100000"],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(train.__file__).parents[2])},
    ) as process:
        signal.signal(signal.SIGINT, before)
        first = process.stderr.readline()  # the corpus is being read
        time.sleep(wait)
        process.send_signal(number)
        _, rest = process.communicate(timeout=120)
    assert process.returncode == 128 + number and "reading the corpus" in first
    assert rest.splitlines()[-1] == (
        "lmjax: interrupted; the same train command with --resume goes on"
    )
    assert "Traceback" not in rest
