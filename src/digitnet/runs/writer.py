"""Writes a run's folder: metrics, summary and checkpoints."""

import contextlib
import re
import shlex
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from digitnet.config.rules import named_destination
from digitnet.config.schema import Config
from digitnet.errors import DigitnetError, DistributedError, DivergedError, as_digitnet_error
from digitnet.runs.folder import RunFolder
from digitnet.runs.formats import RunSummary
from digitnet.runs.observer import StartedRun
from digitnet.text import printable, short_path
from digitnet.training.checkpoint import save_checkpoint
from digitnet.training.record import EpochRecord
from digitnet.training.state import TrainState


class RunWriter:
    """An observer that writes metrics.csv, summary.json and checkpoints into `folder`, which is locked.

    A checkpoint contains the records, from which `resume` rewrites the other files: a run that is killed between two
    writes loses no record and has none twice. With `writes=False` it only keeps the records in memory: of several
    processes only one writes. Methods raise OSError, also if the folder is no longer the one that was locked.
    """

    def __init__(self, folder: RunFolder, summary: RunSummary, config: Config, writes: bool = True) -> None:
        self.folder, self.summary, self.config = folder, summary, config
        self._writes = writes
        self.records: list[EpochRecord] = []
        self._run: StartedRun | None = None
        self._saved = time.perf_counter()
        self._started = self._saved - summary.seconds

    @property
    def best(self) -> EpochRecord:
        """The record with the highest val_acc; of equal ones, that with the lowest val_loss."""
        return max(self.records, key=lambda record: (record.val_acc, -record.val_loss))

    def start(self, run: StartedRun) -> None:
        """Make all files agree with the state that training starts from.

        A killed process may have written more, or less, than is in its checkpoint.
        """
        self._run, self.folder.is_new = run, False
        self.config, self.summary.steps = run.config, run.state.steps
        if self.records and run.state.partial_epoch is None:
            others = [name for name in self._names_after(run.state.epoch) if name != "last"]
            self._save([n for n in others if n == "best" or not self.folder.checkpoint_file(n).exists()], run.state)
        self._remove_old_checkpoints()
        self.write_figures()

    def epoch(self, record: EpochRecord) -> None:
        """Write the checkpoints that are due after the epoch, then metrics.csv and summary.json."""
        assert self._run is not None
        self.records.append(record)
        self._save(self._names_after(record.epoch), self._run.state)
        self._remove_old_checkpoints()
        self.write_figures()

    def _names_after(self, number: int) -> list[str]:
        """The checkpoints to write after epoch `number`, the last one.

        last.pt first: no other is then of a later epoch than last.pt, from which `resume` writes them again.
        """
        assert self._run is not None
        options, is_best = self.config.checkpoint, self.best.epoch == number
        is_due = number == self._run.epochs or bool(options.every_epochs and number % options.every_epochs == 0)
        names = ["last"] if is_best or is_due else []
        names += ["best"] if is_best else []
        return names + ([f"epoch_{number}"] if is_due and options.keep != 0 else [])

    def end(self, summary: RunSummary) -> None:
        """Write summary.json for the last time."""
        self.write_summary()

    def record_failure(self, error: BaseException) -> str:
        """Record that the run ended with `error`; returns its text, to which the command to resume is added."""
        # Before rank 0 has broadcast the run's folder, another rank has a folder that does not exist.
        has_started = self.folder.summary_file.exists() and not self.folder.is_new
        if isinstance(error, KeyboardInterrupt):
            error.args = (self._where_it_stopped() if has_started else "Stopped before training began",)
        elif isinstance(error, DistributedError) and has_started:
            steps = self.summary.steps
            kept = f"checkpoints/last.pt is of step {steps:,}" if steps else "no checkpoint was written"
            error.args = (f"{error}; {kept};\nto resume: {self.resume_command()}",)
        statuses = {DivergedError: "diverged", KeyboardInterrupt: "interrupted"}
        self.summary.status = statuses.get(type(error), "failed")
        self.summary.error = str(as_digitnet_error(error) if isinstance(error, Exception) else error)
        expected = isinstance(error, DigitnetError | OSError | KeyboardInterrupt)
        if expected and self.folder.is_new:  # then the folder is removed
            return self.summary.error
        text = f"{'' if isinstance(error, KeyboardInterrupt) else 'error: '}{self.summary.error}\n"
        if not expected:
            text += "".join(traceback.format_exception(error))
        if self._writes:
            with contextlib.suppress(OSError):  # the first error is the message, even if the disk is full now
                self.write_summary()
                self.folder.append_to_log(printable(text))
        return self.summary.error

    def _where_it_stopped(self) -> str:
        """`Stopped in epoch 3 of 12; progress saved. Continue with:`, and below it `digitnet resume RUN_DIR`."""
        saved, where = self.summary.steps, ""
        kept = "progress saved" if saved else "no checkpoint yet"
        if self._run is not None:
            state, epochs = self._run.state, self._run.epochs
            where = f" after epoch {epochs}" if state.epoch == epochs else f" in epoch {state.epoch + 1}"
            where += f" of {epochs}"
            if 0 < saved < state.steps:  # a second signal did not wait for the checkpoint
                kept = f"progress saved up to step {saved:,} of {state.steps:,}"
        return f"Stopped{where}; {kept}. Continue with:\n{self.resume_command()}"

    def resume_command(self) -> str:
        """What people type to resume the run."""
        more = (
            " --trust"
            if self.config.model.name == "custom" or named_destination(self.config.tracker.model_dump())
            else ""
        )
        root = getattr(self.config.data, "root", None)
        if root is not None and "source" not in self.summary.dataset:  # `resume` downloads only to a root that is given
            more = f" {shlex.quote(f'data.root={root}')}{more}"
        return f"digitnet resume {shlex.quote(str(short_path(self.folder.path)))}{more}"

    def without_last(self) -> str:
        """What to do if last.pt is missing or damaged."""
        best, last = self.folder.checkpoint_file("best"), shlex.quote(str(self.folder.checkpoint_file()))
        others = [path for path in [*self._numbered()[-1:], best] if path.is_file()]
        if not others:
            return "restore it, or start a new run"
        return f"restore it, or resume from another one: cp {shlex.quote(str(others[0]))} {last}"

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint within an epoch."""
        minutes = self.config.checkpoint.every_minutes
        return minutes is not None and time.perf_counter() - self._saved > 60 * minutes

    def write_checkpoint(self, state: TrainState) -> None:
        """Write last.pt, also within an epoch."""
        self._save(["last"], state)
        self.write_figures()

    def write_figures(self) -> None:
        """Write metrics.csv and summary.json with the records so far."""
        if self._writes:
            self.folder.write_records(self.records)
        summary = self.summary
        summary.epochs, summary.final, summary.best = len(self.records), None, None
        if self.records:
            best = self.best
            summary.final = asdict(self.records[-1])
            summary.best = {
                "epoch": best.epoch,
                "val_loss": best.val_loss,
                "val_acc": best.val_acc,
                "chosen_on": summary.dataset["validation_on"],
            }
        self.write_summary()

    def write_summary(self) -> None:
        """Write summary.json as it is now."""
        if not self._writes:
            return
        self.summary.seconds = time.perf_counter() - self._started
        self.folder.write_summary(self.summary)

    def _save(self, names: list[str], state: TrainState) -> None:
        paths = [self.folder.checkpoint_file(name) for name in names]
        if paths and self._writes:
            self.folder.check()
            paths[0].parent.mkdir(exist_ok=True)
            save_checkpoint(paths, state, self.config.model.name, self.config.model_dump(), self.records)
        if "last" in names:
            self._saved, self.summary.steps = time.perf_counter(), state.steps

    def _remove_old_checkpoints(self) -> None:
        """Remove all numbered checkpoints but the newest `checkpoint.keep`."""
        if self._writes and (count := self.config.checkpoint.keep):
            for path in self._numbered()[:-count]:
                path.unlink()

    def _numbered(self) -> list[Path]:
        """The numbered checkpoints, in the order of their epochs."""
        folder = self.folder.checkpoint_file().parent
        numbers = {path: re.fullmatch(r"epoch_(\d+)\.pt", path.name) for path in folder.glob("epoch_*.pt")}
        return [path for _, path in sorted((int(match[1]), path) for path, match in numbers.items() if match)]
