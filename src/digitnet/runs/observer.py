"""The interface of a run's observers: the writer of its folder, the terminal, trackers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from digitnet.config.rules import run_length
from digitnet.config.schema import Config
from digitnet.runs.formats import RunSummary
from digitnet.training.record import EpochRecord

if TYPE_CHECKING:
    from digitnet.training.state import TrainState  # imports torch, seconds, which `digitnet compare` does not need


@dataclass(frozen=True)
class StartedRun:
    """The argument of `Observer.start`, when training starts or resumes.

    `state` is the live one: it changes during training. `records` are those of the epochs before. The last three are
    text to print: lines that describe the run, warnings, and what training starts from, or None for random weights.
    """

    run_dir: Path
    config: Config
    summary: RunSummary
    state: "TrainState"
    records: Sequence[EpochRecord]
    introduction: Sequence[str]
    warnings: Sequence[str]
    starting_point: str | None

    @property
    def epochs(self) -> int:
        """The number of epochs of the whole run."""
        return run_length(self.config)


class Observer(Protocol):
    """Is called at a run's start, after each epoch, and at its end, also when it fails or is interrupted."""

    def start(self, run: StartedRun) -> None:
        """Training is about to start, or to resume."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is finished; the live state is the one at its end."""

    def end(self, summary: RunSummary) -> None:
        """The run has ended with `summary.status`. Called once."""
