"""What a run writes down while it trains: metrics.csv, summary.json and checkpoints."""

import time
from dataclasses import asdict
from pathlib import Path

from digitnet import checkpoint
from digitnet.checkpoint import TrainState
from digitnet.records import EpochRecord, RunSummary, write_metrics, write_summary
from digitnet.schema import Config


class Logbook:
    """The files of the run in `run_dir`. `chosen_on` is the split that chooses best.pt, `data` its fingerprint.

    A checkpoint holds the records, so that a run that is killed between two of these writes loses none, and has none
    twice: what goes on with it writes the others anew. Methods raise OSError.
    """

    def __init__(self, run_dir: Path, summary: RunSummary, config: Config, chosen_on: str, data: int) -> None:
        self.run_dir, self.summary, self.config, self.chosen_on, self.data = run_dir, summary, config, chosen_on, data
        self.records: list[EpochRecord] = []
        self._folder = run_dir / "checkpoints"
        self.last = self._folder / "last.pt"
        self._started, self._saved = time.perf_counter() - summary.seconds, time.perf_counter()

    @property
    def best(self) -> EpochRecord:
        """That of the highest val_acc, then of the lowest val_loss."""
        return max(self.records, key=lambda record: (record.val_acc, -record.val_loss))

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint, be it within an epoch."""
        minutes = self.config.checkpoint.every_minutes
        return minutes is not None and time.perf_counter() - self._saved > 60 * minutes

    def write_epoch(self, state: TrainState, record: EpochRecord, last: bool) -> None:
        """After an epoch, maybe the `last`: the checkpoints that are due, then the figures."""
        self.records.append(record)
        number, knobs = record.epoch, self.config.checkpoint
        # last.pt after best.pt: whoever goes on from it finds the best of all the epochs that it knows.
        paths = [self._folder / "best.pt"] if self.best is record else []
        if last or number % knobs.every_epochs == 0:
            paths += [self._folder / f"epoch_{number}.pt"] if knobs.keep != 0 else []
            paths.append(self.last)
        self._save(paths, state)
        if knobs.keep is not None:
            for path in self._numbered()[knobs.keep :]:
                path.unlink()
        self.write_figures()

    def write_checkpoint(self, state: TrainState) -> None:
        """last.pt, also within an epoch."""
        self._save([self.last], state)
        self.write_figures()

    def write_figures(self) -> None:
        """metrics.csv and summary.json, of the records so far."""
        write_metrics(self.run_dir / "metrics.csv", self.records)
        summary = self.summary
        summary.epochs, summary.final, summary.best = len(self.records), None, None
        summary.seconds = time.perf_counter() - self._started
        if self.records:
            best = self.best
            summary.final = asdict(self.records[-1])
            summary.best = {
                "epoch": best.epoch,
                "val_loss": best.val_loss,
                "val_acc": best.val_acc,
                "chosen_on": self.chosen_on,
            }
        write_summary(self.run_dir / "summary.json", summary)

    def _save(self, paths: list[Path], state: TrainState) -> None:
        if paths:
            self._folder.mkdir(exist_ok=True)
            config = self.config.model_dump()
            checkpoint.save(paths, state, self.config.model.name, config, self.records, self.data)
        if self.last in paths:
            self._saved, self.summary.steps = time.perf_counter(), state.step

    def _numbered(self) -> list[Path]:
        """The checkpoints that are kept, newest first."""
        return sorted(self._folder.glob("epoch_*.pt"), key=lambda path: int(path.stem.split("_")[1]), reverse=True)
