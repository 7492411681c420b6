"""What a run writes down: figures and checkpoints while it trains, and how it ends."""

import contextlib
import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from digitnet.config.schema import Config
from digitnet.errors import DistributedError, DivergedError
from digitnet.runs.formats import RunSummary, write_metrics, write_summary
from digitnet.signals import Stop
from digitnet.text import printable, short_path
from digitnet.training import checkpoint
from digitnet.training.checkpoint import TrainState
from digitnet.training.record import EpochRecord


class RunWriter:
    """metrics.csv, summary.json and checkpoints of the run in `run_dir`; before each write `check` may object.

    A checkpoint holds the records, so that a run that is killed between two of these writes loses none, and has none
    twice: what goes on with it writes the others anew. One that does not write keeps the records alone: of several
    processes one does. Methods raise OSError, and what `check` raises.
    """

    def __init__(
        self, run_dir: Path, summary: RunSummary, config: Config, check: Callable[[], None], writes: bool = True
    ) -> None:
        self.run_dir, self.summary, self.config, self.check = run_dir, summary, config, check
        self._writes = writes
        self.records: list[EpochRecord] = []
        self.last = run_dir / "checkpoints" / "last.pt"
        self._best, self._saved = self.last.with_name("best.pt"), time.perf_counter()
        self._started = self._saved - summary.seconds

    @property
    def best(self) -> EpochRecord:
        """That of the highest val_acc, then of the lowest val_loss."""
        return max(self.records, key=lambda record: (record.val_acc, -record.val_loss))

    @contextlib.contextmanager
    def open(self, stop: Stop) -> Iterator[None]:
        """In this block the run is running; how the block ends is how the run ended."""
        self.summary.status = "running"
        self.write_summary()
        try:
            with stop.heeded():
                yield
            self.summary.status = "finished"
            self.write_summary()
        except BaseException as error:
            stop.end()
            self.write_failure(error)
            raise

    def write_failure(self, error: BaseException) -> str:
        """The run ends with the `error`, whose text, which is returned, says from then on how to go on."""
        if isinstance(error, KeyboardInterrupt | DistributedError):
            what = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            # A rank to which the first one has not said the folder does not know it.
            begun = (self.run_dir / "summary.json").exists()
            error.args = (f"{what}; {self._how_to_go_on()}" if begun else what,)
        known = {DivergedError: "diverged", KeyboardInterrupt: "interrupted"}
        self.summary.status = known.get(type(error), "failed")
        self.summary.error = str(error) or repr(error)
        if self._writes:
            with contextlib.suppress(OSError):  # what went wrong first is the message, be the disk full or not
                self.write_summary()
                with (self.run_dir / "train.log").open("a", encoding="utf-8") as log:
                    log.write(f"error: {printable(self.summary.error)}\n")
        return self.summary.error

    def _how_to_go_on(self) -> str:
        steps = self.summary.steps
        kept = f"checkpoints/last.pt is of step {steps:,}" if steps else "no checkpoint was written"
        trust = " --trust" if self.config.model.name == "custom" else ""
        return f"{kept};\nto go on: digitnet resume {shlex.quote(str(short_path(self.run_dir)))}{trust}"

    def without_last(self) -> str:
        """What to do where last.pt is missing or damaged."""
        others = [path for path in [*self._numbered()[-1:], self._best] if path.is_file()]
        if not others:
            return "bring it back, or start a new run"
        return (
            f"bring it back, or go on from another one: cp {shlex.quote(str(others[0]))} {shlex.quote(str(self.last))}"
        )

    def write_start(self, state: TrainState) -> None:
        """All files as of `state`: a killed process may have written more than its checkpoint knows, or less."""
        self.summary.steps = state.step
        self._prune()
        if self.records and state.underway is None and self.best.epoch == state.epoch:
            self._save([self._best], state)
        self.write_figures()

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint, be it within an epoch."""
        minutes = self.config.checkpoint.every_minutes
        return minutes is not None and time.perf_counter() - self._saved > 60 * minutes

    def write_epoch(self, state: TrainState, record: EpochRecord, last: bool) -> None:
        """After an epoch, maybe the `last`: the checkpoints that are due, then the figures."""
        self.records.append(record)
        number, knobs = record.epoch, self.config.checkpoint
        is_best, is_due = self.best is record, last or number % knobs.every_epochs == 0
        # best.pt after last.pt: whoever goes on from that one can make up for it, and never has one of the future.
        paths = [self.last] if is_best or is_due else []
        paths += [self._best] if is_best else []
        paths += [self.last.with_name(f"epoch_{number}.pt")] if is_due and knobs.keep != 0 else []
        self._save(paths, state)
        self._prune()
        self.write_figures()

    def write_checkpoint(self, state: TrainState) -> None:
        """last.pt, also within an epoch."""
        self._save([self.last], state)
        self.write_figures()

    def write_figures(self) -> None:
        """metrics.csv and summary.json, of the records so far."""
        if self._writes:
            self.check()
            write_metrics(self.run_dir / "metrics.csv", self.records)
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
        if not self._writes:
            return
        self.check()
        self.summary.seconds = time.perf_counter() - self._started
        write_summary(self.run_dir / "summary.json", self.summary)

    def _save(self, paths: list[Path], state: TrainState) -> None:
        if paths and self._writes:
            self.check()
            self.last.parent.mkdir(exist_ok=True)
            checkpoint.save_checkpoint(paths, state, self.config.model.name, self.config.model_dump(), self.records)
        if self.last in paths:
            self._saved, self.summary.steps = time.perf_counter(), state.step

    def _prune(self) -> None:
        """Of the checkpoints that are kept besides, leave the newest ones."""
        if self._writes and (count := self.config.checkpoint.keep):
            for path in self._numbered()[:-count]:
                path.unlink()

    def _numbered(self) -> list[Path]:
        """The checkpoints that are kept besides, in the order of their epochs."""
        numbers = {path: re.fullmatch(r"epoch_(\d+)\.pt", path.name) for path in self.last.parent.glob("epoch_*.pt")}
        return [path for _, path in sorted((int(found[1]), path) for path, found in numbers.items() if found)]
