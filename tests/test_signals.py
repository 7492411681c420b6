"""Signals while a run lasts."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from digitnet import signals
from digitnet.errors import DistributedError
from digitnet.signals import Stop, handling_signals


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) is handler
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_at_once_unless_deferred(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    with (
        handling_signals() as stop,
        pytest.raises(KeyboardInterrupt, match="Stopped$" if number.name == "SIGINT" else f"Stopped by {number.name}$"),
    ):
        os.kill(os.getpid(), number)
    assert stop.received == number.name
    with handling_signals() as stop, pytest.raises(KeyboardInterrupt, match="the third"), stop.deferred():
        thrice(monkeypatch, number, stop)


def thrice(monkeypatch: pytest.MonkeyPatch, number: int, stop: Stop) -> None:
    os.kill(os.getpid(), number)
    assert stop.received == signal.Signals(number).name
    os.kill(os.getpid(), number)  # at once: the first one over
    monkeypatch.setattr(signals, "AGAIN_SECONDS", 0.0)
    try:
        os.kill(os.getpid(), number)
    except KeyboardInterrupt:  # later: somebody means it
        raise KeyboardInterrupt("the third") from None


def test_the_end_is_not_cut_off() -> None:
    with handling_signals() as stop:
        stop.ignore_signals()
        os.kill(os.getpid(), signal.SIGTERM)


def test_what_came_at_the_end_of_the_deferral_is_not_lost() -> None:
    with handling_signals() as stop, pytest.raises(KeyboardInterrupt, match="SIGTERM"), stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)


def test_what_is_ignored_stays_so() -> None:
    """As for a job in the background of a script."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with handling_signals():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, handler)


def test_in_a_thread_signals_are_the_main_one_s() -> None:
    found: list[object] = []

    def listen() -> None:
        with handling_signals() as stop:
            found.append(stop.received)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [None]


def test_exit_is_forced_only_if_the_block_does_not_end() -> None:
    for stays in (True, False):
        ended = threading.Event()
        with handling_signals() as stop, contextlib.suppress(KeyboardInterrupt):
            waiting = stop.deferred() if stays else contextlib.nullcontext()
            with stop.exit_deadline(0.1, ended.set), waiting:
                os.kill(os.getpid(), signal.SIGTERM)
                assert ended.wait(10)
        assert ended.wait(0.5) is stays
    assert signal.set_wakeup_fd(-1) == -1


def test_signal_after_a_failure_is_ignored() -> None:
    """By torchrun's SIGTERM, for instance, with which it ends all when one has ended."""
    with handling_signals() as outer:
        try:
            with handling_signals() as inner, inner.converting_errors(), inner.deferred():
                os.kill(os.getpid(), signal.SIGTERM)
                inner.ignore_signals()
                raise DistributedError
        except (DistributedError, KeyboardInterrupt) as error:
            ended = type(error)
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert (ended, outer.received) == (DistributedError, None)


def test_only_errors_of_the_signal_become_an_interruption() -> None:
    def fail_after_signal(error: Exception, *, chained: bool) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt as interrupt:
            if chained:
                raise error from interrupt
        raise error

    for error, chained, expected in (
        (ValueError("anything"), True, KeyboardInterrupt),
        (ImportError("initialization failed"), False, KeyboardInterrupt),
        (OSError(28, "No space left on device"), False, OSError),
    ):
        with pytest.raises(expected), handling_signals() as stop, stop.converting_errors():
            fail_after_signal(error, chained=chained)


def test_interrupt_that_is_lost_is_raised_at_the_end() -> None:
    """As it is within a `__del__`, or in code with a bare `except:`."""
    with (
        pytest.raises(KeyboardInterrupt, match="SIGHUP"),
        handling_signals() as stop,
        stop.converting_errors(),
        contextlib.suppress(BaseException),
    ):
        os.kill(os.getpid(), signal.SIGHUP)
