"""A process that has imported torch and forks one for each command line: a process of its own in 0.1 s, not in 3 s.

`digitnet(*arguments)` starts what `python -W error -m digitnet ARGUMENT …` starts, in the current folder and
environment; `module(name, *arguments)` what `python -m NAME ARGUMENT …` starts; `call("module:function", *arguments)`
runs a function of a module in tests/. All return a `Process`, which is used as one of subprocess.Popen's.
"""

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from digitnet.sweep.launchers import job_process, processes

TESTS = Path(__file__).parent
FORKS = sys.platform == "linux"  # elsewhere, libraries forbid it: new interpreters do the same, in seconds


class Process:
    """The client's view of a forked process. Without `stdout` and `stderr`, which are file numbers, both are pipes."""

    def __init__(self, server: socket.socket, request: dict[str, Any], stdout: int | None, stderr: int | None) -> None:
        self.returncode: int | None = None
        self.stdout: TextIO | None = None
        self.stderr: TextIO | None = None
        self._readers: dict[str, threading.Thread] = {}
        self._texts = {"stdout": "", "stderr": ""}
        opened = []
        if stdout is None:
            reader, stdout = os.pipe()
            opened.append(stdout)
            self.stdout = os.fdopen(reader)
        if stderr is None:
            reader, stderr = os.pipe()
            opened.append(stderr)
            self.stderr = os.fdopen(reader)
        ours, theirs = socket.socketpair()
        socket.send_fds(server, [b"."], [stdout, stderr, theirs.fileno()])
        theirs.close()
        for number in opened:
            os.close(number)
        self._answers = ours.makefile("rw")
        self._socket = ours
        self._answers.write(json.dumps({**request, "cwd": str(Path.cwd()), "environment": dict(os.environ)}) + "\n")
        self._answers.flush()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """The exit code, or minus the number of the signal that killed it; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._socket], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("digitnet", timeout or 0)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._socket.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end, and return all that it wrote on the pipes and nobody has read yet."""
        for name in ("stdout", "stderr"):
            if getattr(self, name) is not None and name not in self._readers:
                self._readers[name] = threading.Thread(target=self._read, args=(name,), daemon=True)
                self._readers[name].start()
        self.wait(timeout)
        for reader in self._readers.values():  # which another process may hold open, that it has started
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired("digitnet", timeout or 0)
        return self._texts["stdout"], self._texts["stderr"]

    def _read(self, name: str) -> None:
        with getattr(self, name) as file:
            self._texts[name] = file.read()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.communicate()


_server: "tuple[subprocess.Popen[bytes], socket.socket] | None" = None


def _start_server() -> socket.socket:
    global _server
    if _server is None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-W", "error", __file__, str(theirs.fileno())]
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        theirs.close()
        if ours.recv(1) != b".":
            ours.close()
            raise RuntimeError(f"{__file__} ended with exit code {process.wait()}")
        _server = process, ours
    return _server[1]


def stop() -> None:
    """End the process that forks; those that it has forked are left to those who started them."""
    global _server
    if _server is not None:
        process, connection = _server
        connection.close()
        process.wait()
        _server = None


def digitnet(*arguments: str, stdout: int | None = None, stderr: int | None = None) -> "Process":
    """The command line in a process of its own."""
    return _start_process({"module": "digitnet", "arguments": arguments}, stdout, stderr)


def module(name: str, *arguments: str) -> "Process":
    """Another module's command line in a process of its own; its warnings are no errors."""
    return _start_process({"module": name, "arguments": arguments})


def call(function: str, *arguments: str, stdout: int | None = None, stderr: int | None = None) -> "Process":
    """`MODULE:FUNCTION` of tests/ with these arguments, in a process of its own."""
    return _start_process({"function": function, "arguments": arguments}, stdout, stderr)


def _start_process(request: dict[str, Any], stdout: int | None = None, stderr: int | None = None) -> Any:
    if FORKS:
        return Process(_start_server(), request, stdout, stderr)
    command = [sys.executable, *(["-W", "error"] if request.get("module") == "digitnet" else [])]
    if "function" in request:
        name, _, function = request["function"].partition(":")
        code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from {name} import {function} as call"
        command += ["-c", f"{code}; call(*sys.argv[1:])"]
    else:
        command += ["-m", request["module"]]
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *request["arguments"]], stdout=stdout or pipe, stderr=stderr or pipe, text=True)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():  # numpy's OpenBLAS has threads, and looks after them when forked
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        yield


def _serve(connection: socket.socket) -> dict[str, Any]:
    """Fork for each request. Returns, in the forked process, what it is to do."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes between
    while True:
        word, numbers, _, _ = socket.recv_fds(connection, 1, 3)
        if not word:
            os._exit(0)
        with _silent():
            between = os.fork()
        if between == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            connection.close()
            return _fork_and_wait(*numbers)
        for number in numbers:
            os.close(number)


def _fork_and_wait(stdout: int, stderr: int, answer: int) -> dict[str, Any]:
    """In the process between: fork, send the process id, wait, send the exit code. Returns in the forked one."""
    channel = socket.socket(fileno=answer)
    request: dict[str, Any] = json.loads(channel.makefile("r").readline())
    with _silent():
        child = os.fork()
    if child == 0:
        channel.close()
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)
        return request
    os.close(stdout)
    os.close(stderr)
    with contextlib.suppress(BrokenPipeError):  # the tests were stopped
        channel.send(f"{child}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        channel.send(f"{code}\n".encode())
    os._exit(0)


def _prepare(request: dict[str, Any]) -> None:
    """Make this process what a new interpreter would be."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    sys.argv = ["digitnet", *request["arguments"]]
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
        errors = "backslashreplace" if number == 2 else "strict"
        file = io.TextIOWrapper(raw, "utf-8", errors, line_buffering=number == 2 or os.isatty(number))
        setattr(sys, name, file)
        setattr(sys, f"__{name}__", file)
    processes.start_server = _fork_server  # type: ignore[assignment]


def start_server(command: Sequence[str], connection: socket.socket) -> Any:
    """In place of `processes.start_server` in the tests' own process: the jobs' fork server need not import torch."""
    if not FORKS:
        return _start_interpreter(command, connection)
    return call("forking:serve_jobs", *command[-2:], stdout=connection.fileno(), stderr=2)


_start_interpreter = processes.start_server


def serve_jobs(folder: str, trust: str) -> None:
    """What the jobs' fork server does; the socket to its sweep is standard output."""
    gc.freeze()
    connection = socket.socket(fileno=os.dup(1))
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY)):
        nothing = os.open(os.devnull, flags)
        os.dup2(nothing, number)
        os.close(nothing)
    os.setsid()
    job_process.serve(connection, Path(folder), trust == "1")


class _ForkedServer:
    """The jobs' fork server, forked from the process of a command line, which has imported torch already."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = False

    def kill(self) -> None:
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> None:
        deadline = time.monotonic() + (timeout or 3600)
        while not self._ended and not os.waitpid(self.pid, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("server", timeout or 3600)
            time.sleep(0.01)
        self._ended = True


def _fork_server(command: Sequence[str], connection: socket.socket) -> _ForkedServer:
    """It is given only what a new interpreter would have: no open files, no handlers of signals."""
    with _silent():
        child = os.fork()
    if child:
        return _ForkedServer(child)
    try:
        signal.set_wakeup_fd(-1)
        _reset_signals()
        os.dup2(connection.fileno(), 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the lock of the sweep's folder, for instance
        serve_jobs(*command[-2:])
    finally:
        os._exit(1)


def _reset_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _do(request: dict[str, Any]) -> int:
    """Returns the exit code. All is done that an interpreter does at its end, but for what takes half a second of it:
    freeing the objects of imported modules one by one.
    """
    code: object = 0
    try:
        if "function" in request:
            sys.path.insert(1, str(TESTS))
            module, _, name = request["function"].partition(":")
            code = getattr(importlib.import_module(module), name)(*sys.argv[1:])
        else:
            if request["module"] != "digitnet":
                warnings.simplefilter("default")
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as leave:
        code = leave.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for those that are no daemons
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    import torch._dynamo  # torch.optim imports it on first use  # noqa: F401

    import digitnet.config.compose
    import digitnet.experiment.run  # noqa: F401

    _reset_signals()
    os.setsid()  # Ctrl-C is for the tests
    gc.freeze()  # a collection would copy all that the processes share
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.send(b".")  # ready
    request = _serve(connection)
    _prepare(request)
    os._exit(_do(request))
