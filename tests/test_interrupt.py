"""Signals wait for the end of a step, and are not lost."""

import signal
import threading
import time

import pytest

from lmjax import interrupt

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_held_back_and_then_raised(number):
    before, reached = signal.getsignal(number), []
    with pytest.raises(KeyboardInterrupt) as raised, interrupt.held() as signals:
        signal.raise_signal(number)
        signal.raise_signal(number)  # at once: the same one, sent by a wrapper again
        reached.append("the end of the step")
        signals.check()
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
        with interrupt.held() as signals:
            signal.raise_signal(signal.SIGINT)
            signals.check()
    finally:
        signal.signal(signal.SIGINT, before)
    with interrupt.held():
        done = []
        thread = threading.Thread(target=lambda: done.append(interrupt.held().__enter__()))
        thread.start()
        thread.join()
    assert done


def test_a_signal_that_is_heard_is_raised_where_it_falls_and_not_forgotten():
    with pytest.raises(KeyboardInterrupt), interrupt.held() as signals:
        try:
            with signals.heard():
                signal.raise_signal(signal.SIGINT)
                pytest.fail("the signal waited")
        except KeyboardInterrupt:  # as the garbage collector's callbacks drop it
            signals.check()
