"""Handles SIGINT (Ctrl-C), SIGTERM (what Slurm, Kubernetes and `kill` send) and SIGHUP (the terminal was closed)."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

# Those that ask a process to end; Windows has no SIGHUP.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
AGAIN_SECONDS = 1.0  # a second signal within this time counts as the first: `timeout` and wrappers send it twice


class Stop:
    """A signal handler that raises KeyboardInterrupt; while `deferred`, the first signal only sets `received`."""

    def __init__(self) -> None:
        self.received: str | None = None  # the name of the last signal
        self._first_at = 0.0  # seconds, time.monotonic()
        self._deferred = self._ignored = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """In this block a signal does not raise: training checks `received`, and stops where it can be resumed.

        Raises KeyboardInterrupt at the end of the block if a signal came.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.raise_if_received()

    def raise_if_received(self) -> None:
        """Raise KeyboardInterrupt if a signal came."""
        if self.received is not None:
            raise self._interrupt()

    def _interrupt(self) -> KeyboardInterrupt:
        return KeyboardInterrupt("Stopped" if self.received == "SIGINT" else f"Stopped by {self.received}")

    @contextlib.contextmanager
    def converting_errors(self) -> Iterator[None]:
        """Convert an error that leaves this block, and that a signal has caused, to KeyboardInterrupt.

        The KeyboardInterrupt of a signal becomes another error on its way out of some code, of an import for instance,
        or it is lost there: then it is raised at the end of the block.
        """
        try:
            yield
        except Exception as error:
            if self.received is None or not _is_of_interrupt(error):
                raise
            raise self._interrupt() from error
        self.raise_if_received()

    @contextlib.contextmanager
    def exit_deadline(self, seconds: float, force_exit: Callable[[], None]) -> Iterator[None]:
        """Call `force_exit`, in a thread, if this block has not ended `seconds` after a signal.

        While compiled code waits, for a GPU for instance, Python calls no signal handler.
        """
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        ended = threading.Event()

        def watch() -> None:
            with reader:
                if reader.recv(1) and not ended.wait(seconds):
                    force_exit()

        threading.Thread(target=watch, daemon=True).start()
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            ended.set()
            signal.set_wakeup_fd(before)
            writer.close()

    def ignore_signals(self) -> None:
        """Ignore all further signals: what is left to do takes milliseconds and must not be interrupted."""
        self._ignored = True

    def __call__(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._ignored:
            return
        if self.received is None:
            self._first_at = now
        again = self.received is not None and now - self._first_at >= AGAIN_SECONDS
        self.received = signal.Signals(number).name
        if again or not self._deferred:
            raise self._interrupt()


def _is_of_interrupt(error: BaseException) -> bool:
    """Whether a KeyboardInterrupt became the error: its cause or context is one, or it is of an import's kind."""
    causes: BaseException | None = error
    while causes is not None:
        if isinstance(causes, KeyboardInterrupt | ImportError | SystemError):
            return True
        if isinstance(causes, AttributeError) and "partially initialized" in str(causes):  # torch's import goes on
            return True
        causes = causes.__cause__ or causes.__context__
    return False


@contextlib.contextmanager
def handling_signals() -> Iterator[Stop]:
    """In this block a `Stop` handles the signals, except those that the process ignores, as under nohup.

    It handles SIGUSR2 too if that has a handler, as in submitit's jobs: Slurm sends it before the time limit. It is
    raised again at the end of the block, after the checkpoint is written, for the original handler.
    """
    stop = Stop()
    numbers = list(STOP_SIGNALS)
    if hasattr(signal, "SIGUSR2") and callable(signal.getsignal(signal.SIGUSR2)):
        numbers.append(signal.SIGUSR2)
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.getsignal(number) for number in numbers}
    replaced = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in replaced:
        signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in replaced.items():
            if stop._ignored and isinstance(handler, Stop):
                handler.ignore_signals()
            signal.signal(number, handler)
        if stop.received == "SIGUSR2":
            signal.raise_signal(signal.SIGUSR2)
