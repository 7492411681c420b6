"""A run that stops within a write, so that a test can kill it there; tests start it with forking.call."""

import io
import os
import time
from pathlib import Path
from typing import Any

from digitnet import resume, run


def train(stall: str, run_dir: str, *overrides: str) -> None:
    """Start or resume the run in `run_dir`. A `stall` of N > 0 stops it inside its N-th call of write (after half of
    it), fsync or replace, and prints `stalled`; nothing else is printed on stdout.
    """
    out = os.dup(1)
    os.dup2(2, 1)  # the run's own output
    calls = 0

    def is_last() -> bool:
        nonlocal calls
        calls += 1
        return calls == int(stall)

    def stop() -> None:
        os.write(out, b"stalled\n")
        time.sleep(600)

    def stalling(original: Any) -> Any:
        def call(*arguments: object) -> object:
            if is_last():
                stop()
            return original(*arguments)

        return call

    class Halfway(io.FileIO):
        """A file whose write stops after half of it."""

        def write(self, content: bytes) -> int:  # type: ignore[override]
            if is_last():
                super().write(content[: len(content) // 2])
                stop()
            return super().write(content)

    opened: Any = Path.open

    def open_halfway(path: Path, mode: str = "r", *arguments: object, **options: object) -> Any:
        return Halfway(path, mode) if mode == "wb" else opened(path, mode, *arguments, **options)

    if int(stall):
        Path.open = open_halfway  # type: ignore[method-assign,assignment]
        os.fsync = stalling(os.fsync)
        os.replace = stalling(os.replace)
        Path.replace = stalling(Path.replace)  # type: ignore[method-assign]
    if Path(run_dir, "summary.json").exists():
        resume(run_dir)
    else:
        run(*overrides, run_dir=run_dir)
