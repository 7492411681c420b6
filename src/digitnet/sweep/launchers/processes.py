"""Processes of jobs on this machine, as their sweep sees them: starts them, asks them to end, notices their ends.

Two pipes connect each process to its sweep, and neither needs any third process to work. The sweep holds the only
writing end of the job's lifeline: whatever ends the sweep closes it, and the job ends too. The job's process holds the
writing end of the other, so that however it ends, the sweep reads the end of the file.
"""

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Protocol

from digitnet.errors import DigitnetError

INTERRUPT = b"T"  # on a lifeline: write a checkpoint and end
KILL = b"K"  # to the fork server: kill all jobs
BEGUN = b"begun\n"  # from a job's process
CLOSE_SECONDS = 5.0  # for the fork server to end
POLL_SECONDS = 0.05  # between two looks at spawned processes
# -P: no module is imported from the working directory, where a file may have any name, and anybody's content.
BOOT = "import sys; sys.path.append(sys.argv[1]); from digitnet.sweep.launchers import job_process; job_process.{}()"


class JobProcess(Protocol):
    """A job's process."""

    def has_ended(self) -> bool:
        """Whether it has ended, by itself or killed."""

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative if a signal killed it; None while it runs, or if nobody was left to learn it."""

    @property
    def was_dropped(self) -> bool:
        """Whether it was interrupted before it began."""

    def interrupt(self) -> None:
        """Ask it to write a checkpoint and end; only the first call does anything."""

    def close(self) -> None:
        """Close the pipes to it; a process that runs ends."""


class JobStarter(Protocol):
    """Starts processes of jobs."""

    def start(self, name: str, gpu: int) -> JobProcess:
        """Start the job `name` on the GPU with this index, if it uses one. Raises DigitnetError, OSError."""

    def wait(self, jobs: Collection[JobProcess], seconds: float) -> None:
        """Wait until something has happened to one of these jobs, at most `seconds`."""

    def drop_unstarted(self) -> None:
        """Forget the jobs that have not begun, if that is quicker than to wait for their beginning."""

    def close(self) -> None:
        """Kill all jobs that still run."""


def _command(function: str, arguments: Sequence[str]) -> list[str]:
    """The command of a Python process that calls this function of `job_process`."""
    package = str(Path(__file__).parents[3])  # last on the path, if the process would not find digitnet
    options = [f"-W{option}" for option in sys.warnoptions]
    return [sys.executable, "-P", *options, "-c", BOOT.format(function), package, *arguments]


class ForkedProcess:
    """A job's process, forked by a `ForkServer`."""

    def __init__(self, lifeline: int, events: int) -> None:
        self._lifeline, self.events = lifeline, events
        self.exit_code: int | None = None
        self._has_begun = self._ended = self._interrupted = False

    @property
    def was_dropped(self) -> bool:
        """See `JobProcess`."""
        return self._interrupted and not self._has_begun

    def has_ended(self) -> bool:
        """See `JobProcess`."""
        while not self._ended:
            try:
                text = os.read(self.events, 256)
            except BlockingIOError:
                break
            for line in text.splitlines(keepends=True):
                self._has_begun = True
                if line != BEGUN:
                    self.exit_code, self._ended = int(line), True
            self._ended = self._ended or not text
        return self._ended

    def interrupt(self) -> None:
        """See `JobProcess`."""
        if not self._interrupted:
            self._interrupted = True
            with contextlib.suppress(OSError):  # it has ended
                os.write(self._lifeline, INTERRUPT)

    def close(self) -> None:
        """See `JobProcess`."""
        os.close(self._lifeline)
        os.close(self.events)


class ForkServer:
    """A `JobStarter` that forks them from a process that has loaded torch and the data of the sweep in `folder`.

    Not from this process: a job could inherit locks held by its threads. The server is in a session of its own, so that
    signals of the terminal and to this process's group do not reach it. If it is killed, its jobs go on, and the next
    one gets a new server.
    """

    def __init__(self, folder: Path, trust: bool) -> None:
        self._arguments = [str(folder), str(int(trust))]
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._is_ready = False  # it may have forked jobs

    def start(self, name: str, gpu: int) -> ForkedProcess:
        """See `JobStarter`; the first call starts the server."""
        lifeline_end, lifeline = os.pipe()
        events, events_end = os.pipe()
        try:
            request = json.dumps([name, gpu]).encode()
            try:
                socket.send_fds(self._connected(), [request], [lifeline_end, events_end])
            except ConnectionError:  # it was killed
                self.close()
                socket.send_fds(self._connected(), [request], [lifeline_end, events_end])
        except ConnectionError as error:
            os.close(lifeline)
            os.close(events)
            raise DigitnetError(
                "hydra/launcher=local: the process that jobs are forked from ends at once; "
                "HYDRA_FULL_ERROR=1 digitnet, without -m, may show why"
            ) from error
        finally:
            os.close(lifeline_end)
            os.close(events_end)
        os.set_blocking(events, False)
        return ForkedProcess(lifeline, events)

    def _connected(self) -> socket.socket:
        if self._connection is None:
            # Messages of a socket pair need no path, which could be too long, and keep their bounds.
            self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = start_server(_command("serve_forks", self._arguments), theirs)
        return self._connection

    def wait(self, jobs: Collection[JobProcess], seconds: float) -> None:
        """See `JobStarter`."""
        with selectors.DefaultSelector() as selector:
            for job in jobs:
                assert isinstance(job, ForkedProcess)
                selector.register(job.events, selectors.EVENT_READ)
            selector.select(seconds)

    def drop_unstarted(self) -> None:
        """See `JobStarter`: the import of torch is not waited for."""
        if self._connection is not None and self._process is not None and not self._is_ready:
            try:
                self._connection.recv(1, socket.MSG_DONTWAIT)  # sent when it is ready
                self._is_ready = True
            except BlockingIOError:
                self._process.kill()
            except OSError:  # it was killed
                pass

    def close(self) -> None:
        """See `JobStarter`."""
        if self._connection is None or self._process is None:
            return
        self.drop_unstarted()
        with self._connection, contextlib.suppress(OSError):
            self._connection.send(KILL)
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection = self._process = None
        self._is_ready = False


def start_server(command: Sequence[str], connection: socket.socket) -> subprocess.Popen[bytes]:
    """Start the process of a fork server, with `connection` as its standard input. Raises OSError."""
    return subprocess.Popen(command, stdin=connection.fileno(), stdout=subprocess.DEVNULL, start_new_session=True)


class SpawnedProcess:
    """A job's process, a new interpreter; its standard input is its lifeline."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._interrupted = False

    @property
    def exit_code(self) -> int | None:
        """See `JobProcess`."""
        return self._process.returncode

    @property
    def was_dropped(self) -> bool:
        """See `JobProcess`; it always begins."""
        return False

    def has_ended(self) -> bool:
        """See `JobProcess`."""
        return self._process.poll() is not None

    def interrupt(self) -> None:
        """See `JobProcess`."""
        if not self._interrupted:
            self._interrupted = True
            with contextlib.suppress(OSError):  # it has ended
                self._stdin.write(INTERRUPT)
                self._stdin.flush()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """See `JobProcess`."""
        with contextlib.suppress(OSError):
            self._stdin.close()


class Spawner:
    """A `JobStarter` for new interpreters, where processes with threads cannot be forked: macOS, Windows."""

    def __init__(self, folder: Path, trust: bool) -> None:
        self._arguments = [str(folder), str(int(trust))]
        self._started: list[SpawnedProcess] = []

    def start(self, name: str, gpu: int) -> SpawnedProcess:
        """See `JobStarter`."""
        job = SpawnedProcess(_command("run_spawned", [*self._arguments, name, str(gpu)]))
        self._started.append(job)
        return job

    def wait(self, jobs: Collection[JobProcess], seconds: float) -> None:
        """See `JobStarter`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not any(job.has_ended() for job in jobs):
            time.sleep(POLL_SECONDS)

    def drop_unstarted(self) -> None:
        """See `JobStarter`; all have started."""

    def close(self) -> None:
        """See `JobStarter`."""
        for job in self._started:
            job.kill()
