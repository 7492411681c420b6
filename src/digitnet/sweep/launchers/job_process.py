"""What the processes of jobs on this machine run; `processes` starts them."""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

from digitnet.signals import STOP_SIGNALS, handling_signals
from digitnet.sweep.launchers.processes import BEGUN, INTERRUPT, KILL
from digitnet.sweep.preload import preload
from digitnet.sweep.worker import run_recorded

GRACE_SECONDS = 30.0  # for a job to write a checkpoint and end when its sweep is gone


def serve_forks() -> None:
    """The main function of a fork server: its standard input is the socket to its sweep."""
    _, _, folder, trust = sys.argv
    serve(socket.socket(fileno=_without_stdin()), Path(folder), trust == "1")


def serve(connection: socket.socket, folder: Path, trust: bool) -> None:
    """Fork a process for each job that is asked for on `connection`, until it is closed and all jobs have ended.

    Only SIGKILL ends it before that: its sweep, which gets the other signals too, says how the jobs are to end.
    """
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in STOP_SIGNALS]
    with warnings.catch_warnings():
        # The threads of numpy's OpenBLAS are safe to fork: OpenBLAS handles forks itself.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        with contextlib.suppress(Exception):  # without it, jobs start more slowly
            preload(folder)
        server = _Server(connection)
        server.serve()
    if server.request is None:
        os._exit(0)
    for number, handler in before:
        signal.signal(number, handler)
    name, gpu = server.request
    code = 1
    try:
        run_job_process(folder, name, trust, gpu, server.lifeline)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class _Server:
    """Forks jobs; in the process of a job, `request` has its name and GPU, `lifeline` that of `processes`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._events: dict[int, int] = {}  # the jobs' pipes, by the ids of their processes
        self._deadline: float | None = None  # time.monotonic(), when jobs without a sweep are killed
        self.request: tuple[str, int] | None = None
        self.lifeline = -1

    def serve(self) -> None:
        """Return in the process of each job and, when all have ended, in this one."""
        wakeup, writer = socket.socketpair()
        writer.setblocking(False)
        with self._connection, wakeup, writer:
            signal.signal(signal.SIGCHLD, lambda *_: None)
            signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            with contextlib.suppress(OSError):
                self._connection.send(b".")  # ready
            while self.request is None and (self._deadline is None or self._events):
                self._serve_once(wakeup)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _serve_once(self, wakeup: socket.socket) -> None:
        """Wait for a request, for the end of a job, or for the time at which jobs without a sweep are killed."""
        watched = [wakeup] if self._deadline else [wakeup, self._connection]
        timeout = max(0.0, self._deadline - time.monotonic()) if self._deadline else None
        readable, _, _ = select.select(watched, [], [], timeout)
        if wakeup in readable:
            wakeup.recv(4096)
        self._reap()
        if self._connection in readable:
            self._serve_request()
        elif self._deadline and time.monotonic() >= self._deadline:
            for child in self._events:
                os.kill(child, signal.SIGKILL)
            self._deadline = time.monotonic() + GRACE_SECONDS

    def _serve_request(self) -> None:
        """Read a request, and fork its job."""
        try:
            message, numbers, _, _ = socket.recv_fds(self._connection, 4096, 2)
        except OSError:
            message, numbers = b"", []
        if not numbers:  # the sweep has ended, and with it the jobs' lifelines
            self._deadline = time.monotonic() + (0 if message == KILL else GRACE_SECONDS)
            return
        lifeline, events = numbers
        child = os.fork()
        if child:
            os.close(lifeline)
            self._events[child] = events
            return
        for number in self._events.values():  # else the sweep would not notice the ends of these jobs
            os.close(number)
        for number in numbers:
            os.set_inheritable(number, False)
        os.setpgid(0, 0)
        with contextlib.suppress(OSError):  # the sweep is gone, and the lifeline ends the job
            os.write(events, BEGUN)
        name, gpu = json.loads(message)
        self.request, self.lifeline = (name, gpu), lifeline

    def _reap(self) -> None:
        """Tell the sweep the exit codes of jobs that have ended."""
        while self._events:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                return
            if (events := self._events.pop(child, None)) is not None:
                with contextlib.suppress(OSError):  # the sweep is gone
                    os.write(events, f"{os.waitstatus_to_exitcode(status)}\n".encode())
                os.close(events)


def run_spawned() -> None:
    """The main function of a job in an interpreter of its own: its standard input is its lifeline."""
    _, _, folder, trust, name, gpu = sys.argv
    run_job_process(Path(folder), name, trust == "1", int(gpu), _without_stdin())


def _without_stdin() -> int:
    """Move what is standard input to another number, which is returned: forked jobs must not have it."""
    number, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return number


def run_job_process(folder: Path, name: str, trust: bool, gpu: int, lifeline: int) -> None:
    """Run the job in this process, with its output in its folder, because the terminal shows the sweep."""
    with contextlib.suppress(KeyboardInterrupt), handling_signals():  # the job's summary says that it was interrupted
        threading.Thread(target=_end_with_sweep, args=(lifeline,), daemon=True).start()
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(gpu % torch.cuda.device_count())
        run_recorded(folder, name, trust, output=True)


def _end_with_sweep(lifeline: int) -> None:
    """End the job when its sweep says so, or is gone; then at the latest after GRACE_SECONDS.

    A job that goes on would keep its folder locked, and could not be resumed.
    """
    word = os.read(lifeline, 1)
    if hasattr(signal, "pthread_kill"):  # wakes the main thread from a system call
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)
    if word == INTERRUPT:
        os.read(lifeline, 1)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
