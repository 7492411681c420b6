"""A process that trains in forks of itself: `python kill_and_resume.py OVERRIDE …`.

For each line of standard input, `STALL RUN_DIR`, a fork starts or goes on with the run in RUN_DIR. A STALL of N > 0
stops the fork inside its N-th call of write (after half of it), fsync or replace, so that a test can kill it in the
midst of one. The fork's process id is printed, then maybe `stalled` and, when it has ended, its exit code. Importing
torch takes seconds, which thirty kills need not wait for.
"""

import io
import os
import sys
import time
from pathlib import Path

from digitnet import resume, run


def work(run_dir: Path, overrides: list[str], stall: int) -> None:
    calls = 0

    def count() -> bool:
        nonlocal calls
        calls += 1
        return calls == stall

    def stop() -> None:
        say("stalled")
        time.sleep(600)

    def stalling(original: object) -> object:
        def call(*arguments: object) -> object:
            if count():
                stop()
            return original(*arguments)  # type: ignore[operator]

        return call

    class Halfway(io.FileIO):
        """A file whose write stops after half of it."""

        def write(self, content: bytes) -> int:  # type: ignore[override]
            if count():
                super().write(content[: len(content) // 2])
                stop()
            return super().write(content)

    opened = Path.open

    def open_halfway(path: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        return Halfway(path, mode) if mode == "wb" else opened(path, mode, *arguments, **options)  # type: ignore

    if stall:
        Path.open = open_halfway  # type: ignore[method-assign,assignment]
        os.fsync = stalling(os.fsync)  # type: ignore[assignment]
        os.replace = stalling(os.replace)  # type: ignore[assignment]
        Path.replace = stalling(Path.replace)  # type: ignore[method-assign,assignment]
    if (run_dir / "summary.json").exists():
        resume(run_dir)
    else:
        run(*overrides, run_dir=run_dir)


def say(word: object) -> None:
    os.write(out, f"{word}\n".encode())


out = os.dup(1)
os.dup2(2, 1)  # what runs print is no answer
for line in sys.stdin:
    stall, _, run_dir = line.strip().partition(" ")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(Path(run_dir), sys.argv[1:], int(stall))
            code = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    say(child)
    say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
