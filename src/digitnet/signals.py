"""SIGINT (Ctrl-C), SIGTERM (what Slurm, Kubernetes and `kill` send) and SIGHUP (a terminal was closed)."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from digitnet.errors import DistributedError

AGAIN_SECONDS = 1.0  # sooner, a second signal is the first one over: `timeout` and wrappers send it twice


class Stop:
    """Signals raise KeyboardInterrupt; while `deferred`, the first only sets `wanted`, and a later one raises."""

    def __init__(self) -> None:
        self.wanted: str | None = None  # the signal's name
        self._since = 0.0
        self._deferred = self._ended = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """In this block the training looks at `wanted` and stops where it can be resumed.

        Raises KeyboardInterrupt at the end of the block if a signal came.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.obey()

    def obey(self) -> None:
        """Raise KeyboardInterrupt if a signal came."""
        if self.wanted is not None:
            raise KeyboardInterrupt(f"interrupted by {self.wanted}")

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Raises KeyboardInterrupt where a signal leaves this block as another error.

        Within the import of compiled code it becomes an ImportError.
        """
        try:
            yield
        except DistributedError:  # torchrun sends the signal because of it
            raise
        except Exception as error:
            if self.wanted is None:
                raise
            raise KeyboardInterrupt(f"interrupted by {self.wanted}") from error

    @contextlib.contextmanager
    def last_resort(self, seconds: float, end: Callable[[], None]) -> Iterator[None]:
        """Calls `end`, in a thread, when this block has not ended `seconds` after a signal.

        Where it waits in compiled code, for a GPU for instance, Python hears no signal.
        """
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        left = threading.Event()

        def watch() -> None:
            with ours:
                if ours.recv(1) and not left.wait(seconds):
                    end()

        threading.Thread(target=watch, daemon=True).start()
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            left.set()
            signal.set_wakeup_fd(before)
            theirs.close()

    def end(self) -> None:
        """From now on signals do nothing: what is left takes milliseconds and must not be cut off."""
        self._ended = True

    def __call__(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._ended:
            return
        if self.wanted is None:
            self._since = now
        again = self.wanted is not None and now - self._since >= AGAIN_SECONDS
        self.wanted = signal.Signals(number).name
        if again or not self._deferred:
            raise KeyboardInterrupt(f"interrupted by {self.wanted}")


@contextlib.contextmanager
def handling_signals() -> Iterator[Stop]:
    """In this block the signals go to a `Stop`, but those that the process was told to ignore, as nohup does.

    SIGUSR2 too if somebody listens for it, as submitit does, to whom Slurm says so that a time limit is near; it is
    handed on at the end of the block, when the checkpoint is written.
    """
    stop = Stop()
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if hasattr(signal, "SIGUSR2") and callable(signal.getsignal(signal.SIGUSR2)):
        numbers.append(signal.SIGUSR2)
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.getsignal(number) for number in numbers}
    heard = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in heard:
        signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in heard.items():
            if stop._ended and isinstance(handler, Stop):
                handler.end()
            signal.signal(number, handler)
        if stop.wanted == "SIGUSR2":
            signal.raise_signal(signal.SIGUSR2)
