"""What watches a run while it trains: the writer of its folder, the terminal, trackers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from digitnet.config.rules import run_length
from digitnet.config.schema import Config
from digitnet.runs.formats import RunSummary
from digitnet.training.record import EpochRecord

if TYPE_CHECKING:
    from digitnet.training.state import TrainState  # torch: seconds, which a table of runs need not wait for


@dataclass(frozen=True)
class StartedRun:
    """What an observer is told when training starts, or resumes.

    `state` is the live one: it changes while the run trains. The rest is for people: lines about what is trained,
    warnings, and what the training starts from if it is not random weights.
    """

    run_dir: Path
    config: Config
    summary: RunSummary
    state: "TrainState"
    introduction: Sequence[str]
    warnings: Sequence[str]
    starting_point: str | None

    @property
    def epochs(self) -> int:
        """How many the run has in the end."""
        return run_length(self.config)


class Observer(Protocol):
    """Told of a run's start, of each epoch, and of its end, however it ends."""

    def start(self, run: StartedRun) -> None:
        """Training is about to start, or to resume."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is finished; the live state is that of its end."""

    def end(self, summary: RunSummary) -> None:
        """The run has ended; `summary.status` says how. Called once."""
