"""Observes a run for its trackers, each of which works in a process of its own."""

import contextlib
import importlib.metadata
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from digitnet.atomic import open_regular
from digitnet.config.dotted import flatten
from digitnet.errors import ConfigError
from digitnet.report.trackers.tracker import Message, Outcome, TrackedRun, Tracker, Values
from digitnet.runs.folder import SWEEP_FILE
from digitnet.runs.formats import RunSummary
from digitnet.runs.observer import StartedRun
from digitnet.text import one_line, short_path
from digitnet.training.record import EpochRecord

PATIENCE_SECONDS = 30.0  # for one message, and for all that is left at the end of a run
IMPORT_SECONDS = 120.0  # for the first message, which imports the library while training takes all cores
LONGEST_REASON = 160  # characters; the log has the whole
SILENT_SECONDS = 2.0  # at the end, before people are told that it waits
FAILED_SECONDS = 5.0  # at the end of a run that failed


def check_installed(trackers: Sequence[Tracker]) -> None:
    """Raise ConfigError if the library of a tracker is not installed."""
    for tracker in trackers:
        try:
            if tracker.package is not None:  # not imported: a folder `wandb` in the working directory could be, too
                importlib.metadata.distribution(tracker.package)
        except importlib.metadata.PackageNotFoundError:
            name = tracker.name
            raise ConfigError(
                f"tracker={name}: {tracker.package} is not installed; pip install 'digitnet[{name}]'"
            ) from None


class TrackerProcesses:
    """An observer that passes on what it is told, and never waits for an answer before the end of the run.

    `warn` is called at most once for a tracker, if it fails or does not answer: it then gets no more, and what is
    missing is sent if the run is resumed, for which people type `resume`. At the end, `say` is told where to look.
    """

    def __init__(
        self, trackers: Sequence[Tracker], say: Callable[[str], None], warn: Callable[[str], None], resume: str
    ) -> None:
        self._links = [_Link(tracker) for tracker in trackers]
        self._say, self._warn, self._resume, self._folder = say, warn, resume, Path()

    def start(self, run: StartedRun) -> None:
        self._folder = run.run_dir
        tracked = _tracked(run)
        for link in self._links:
            link.open(tracked)
        for record in run.records:
            self._send(_of_epoch(record))

    def epoch(self, record: EpochRecord) -> None:
        self._send(_of_epoch(record))
        self._check(PATIENCE_SECONDS)

    def step(self, number: int, loss: float, lr: float) -> None:
        """A step is done: its number, counted from 1 over all epochs, its loss in nats and its learning rate."""
        self._send(Values("step", number, {"step_loss": loss, "step_lr": lr}))

    def end(self, summary: RunSummary) -> None:
        test = {f"test_{key}": float(value) for key, value in (summary.test or {}).items() if key != "n"}
        self._send(Outcome(summary.status, summary.epochs, test, sorted(self._folder.glob("*.png")) if test else ()))
        if summary.status != "finished":  # whoever stopped it waits; the trackers go on for a while
            self._close(FAILED_SECONDS)
            self._check(PATIENCE_SECONDS)
            return
        with contextlib.suppress(KeyboardInterrupt):  # the run is done, and need not wait
            self._close(SILENT_SECONDS)
            if waiting := [link.tracker.name for link in self._links if link.is_waiting]:
                self._say(f"waiting for {' and '.join(waiting)}; Ctrl-C ends the wait")
                self._close(PATIENCE_SECONDS - SILENT_SECONDS)
        self._check(0)
        for link in self._links:
            if link.address is not None:
                self._say(f"{link.tracker.name}: {link.address}")

    def _close(self, seconds: float) -> None:
        """Wait for all answers, for so many seconds."""
        deadline = time.monotonic() + seconds
        for link in self._links:
            link.close(deadline)

    def _send(self, message: Message) -> None:
        for link in self._links:
            link.send(message)

    def _check(self, patience: float) -> None:
        for link in self._links:
            if (failure := link.failure(patience)) is not None:
                link.kill()
                self._links = [other for other in self._links if other is not link]
                name = link.tracker.name
                log = short_path(self._folder / "trackers" / f"{name}.log")
                self._warn(
                    f"tracker={name}: {_cut(failure)}; the run goes on without it ({log}). "
                    f"To send what is missing: {self._resume}"
                )


def _cut(text: str) -> str:
    """Without its middle, if it is long: the cause of an error of the network is often at its end."""
    half = LONGEST_REASON // 2
    return text if len(text) <= LONGEST_REASON else f"{text[:half].rstrip()} … {text[-half:].lstrip()}"


def _tracked(run: StartedRun) -> TrackedRun:
    folder, summary = run.run_dir.absolute(), run.summary
    is_job = (folder.parent / SWEEP_FILE).exists()
    tags = {"command": summary.command, **{f"version_{name}": text for name, text in summary.versions.items()}}
    tags |= {"data": str(summary.dataset.get("name")), "device": str(summary.device.get("name"))}
    if run.config.debug.name != "none":
        tags["debug"] = run.config.debug.name
    if summary.resumed:
        tags["resumed"] = "; ".join(summary.resumed)
    if summary.git:
        tags["git"] = str(summary.git.get("commit")) + ("+changes" if summary.git.get("dirty") else "")
    return TrackedRun(
        name=folder.name,
        group=folder.parent.name if is_job else None,
        folder=folder,
        parameters={
            key: value if isinstance(value, str | int | float | None) else json.dumps(value)
            for key, value in flatten(run.config.model_dump(mode="json")).items()
            if not key.startswith("tracker.")
        },
        tags=tags,
    )


def _plain(value: Any) -> str | int | float | None:
    return value if isinstance(value, str | int | float | None) else json.dumps(value)


def _of_epoch(record: EpochRecord) -> Values:
    values = asdict(record)
    return Values("epoch", values.pop("epoch"), values)


class _Link:
    """The process of a tracker, a thread that writes messages to it, and one that reads its answers."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._sent = self._answered = 0
        self._waits_since = 0.0  # time.monotonic(); for the next answer, if one is due
        self._is_closed = False  # no message comes after those that are sent
        self._failure: str | None = None
        self.address: str | None = None

    def open(self, run: TrackedRun) -> None:
        self.send(run)
        self._thread = threading.Thread(target=self._work, args=[run.folder], daemon=True)
        self._thread.start()

    def send(self, message: Message) -> None:
        if self._sent == self._answered:
            self._waits_since = time.monotonic()
        self._sent += 1
        self._is_closed = isinstance(message, Outcome)
        self._messages.put(message)

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is due."""
        return self._failure is None and self._sent > self._answered

    def failure(self, patience: float) -> str | None:
        """Why the tracker gets no more messages; None if it is well. `patience` is for one answer, in seconds."""
        if self.is_waiting:
            seconds = time.monotonic() - self._waits_since
            if seconds >= (patience if self._answered else max(patience, IMPORT_SECONDS) * (patience > 0)):
                return f"no answer in {seconds:.0f} s"
        return self._failure

    def close(self, deadline: float) -> None:
        """Wait until all messages are answered, or until `deadline`, of time.monotonic()."""
        self._messages.put(None)
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def kill(self) -> None:
        self._messages.put(None)
        if self._process is not None:
            self._process.kill()
        if self._thread is not None:
            self._thread.join(FAILED_SECONDS)

    def _work(self, folder: Path) -> None:
        try:
            with self._opened(folder) as process:
                reader = threading.Thread(target=self._read_answers, args=[process], daemon=True)
                reader.start()
                to = process.stdin
                assert to is not None
                with contextlib.suppress(BrokenPipeError), to:  # why it is broken, the reader knows
                    pickle.dump(self.tracker, to)
                    to.flush()
                    while (message := self._messages.get()) is not None:
                        pickle.dump(message, to)
                        to.flush()
                reader.join()
        except Exception as error:
            self._failure = self._failure or one_line(error)

    def _opened(self, folder: Path) -> subprocess.Popen[bytes]:
        log = folder / "trackers" / f"{self.tracker.name}.log"
        log.parent.mkdir(exist_ok=True)
        with open(log, "ab", opener=open_regular) as output:
            self._process = subprocess.Popen(
                # -P: a file mlflow.py in the working directory is not imported.
                [sys.executable, "-P", "-m", "digitnet.report.trackers.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={"OMP_NUM_THREADS": "1", **os.environ},
                start_new_session=True,  # Ctrl-C and `timeout` end the run, which then tells its trackers
            )
        return self._process

    def _read_answers(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            self._failure, self.address = answer["failure"], answer["address"]
            self._answered, self._waits_since = self._answered + 1, time.monotonic()
        if self._failure is None and (not self._is_closed or self._answered < self._sent):
            self._failure = f"its process ended with exit status {process.wait()}"
