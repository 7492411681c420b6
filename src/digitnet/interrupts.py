"""SIGINT (Ctrl-C) and SIGTERM (what Slurm, Kubernetes and `kill` send) while a run lasts."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stop:
    """Both signals raise KeyboardInterrupt; while `deferred`, the first is `wanted` instead."""

    def __init__(self) -> None:
        self.wanted: str | None = None
        self._deferred = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """In this block whoever trains looks at `wanted` and stops where it is well to go on from.

        Raises KeyboardInterrupt at its end if a signal came.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.wanted is not None:
            raise KeyboardInterrupt(f"interrupted by {self.wanted}")

    def __call__(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if not self._deferred or self.wanted is not None:  # the second time somebody means it
            raise KeyboardInterrupt(f"interrupted by {name}")
        self.wanted = name


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """In this block the signals go to a `Stop`, but those that the process was told to ignore, as nohup does."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    heard = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in heard:
        signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
