"""What a tracker is, and what it is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import Field, TypeAdapter

from digitnet.atomic import read_regular

Axis = Literal["epoch", "step"]  # of training: what a value is plotted over


@dataclass(frozen=True)
class TrackedRun:
    """A run, as a tracker shows it."""

    name: str  # its folder's
    group: str | None  # the sweep's name, if it is a sweep's job
    folder: Path
    parameters: Mapping[str, str | int | float | bool | None]  # the configuration, by dotted keys
    tags: Mapping[str, str]  # command, versions, git


@dataclass(frozen=True)
class Values:
    """What an epoch or a step has measured; `number` counts from 1."""

    axis: Axis
    number: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `status` as in summary.json, or "killed" if its process is gone without a word."""

    status: str
    epoch: int  # the last one; 0: none, or unknown
    test: Mapping[str, float]  # test_accuracy, test_loss, test_errors; empty if it was not evaluated
    pictures: Sequence[Path]


Message = TrackedRun | Values | Outcome


class Tracker(Protocol):
    """Sends a run's figures to a place that people look at, in a process of its own (`trackers.process`).

    It is pickled on the way there: only `start` imports the library. Any method may raise any exception, or never
    return; then the run goes on without it.
    """

    @property
    def name(self) -> str:
        """In the configuration, and of its extra."""

    @property
    def package(self) -> str | None:
        """What must be installed; None: nothing."""

    def start(self, run: TrackedRun, previous: str | None) -> str:
        """Begin to track; returns an identifier, with which `previous` continues the same tracked run later.

        Returns another one than `previous` if that is no longer there: then all is sent anew.
        """

    @property
    def address(self) -> str | None:
        """Where to look at the run, once it has started: an address, or a command."""

    def log(self, axis: Axis, number: int, values: Mapping[str, float]) -> None:
        """Send the values of an epoch or of a step, counted from 1. Returns when they are safe."""

    def end(self, outcome: Outcome) -> None:
        """Send the outcome, and close."""


@dataclass
class Sent:
    """What a tracked run has: a file in the run's folder, so that a resumed run sends nothing twice."""

    run: str | None = None  # the tracker's identifier of it
    epoch: Annotated[int, Field(ge=0)] = 0  # the last one
    step: Annotated[int, Field(ge=0)] = 0
    is_ended: bool = False  # it has the final figures


def sent_file(run_dir: Path, tracker: str) -> Path:
    return run_dir / "trackers" / f"{tracker}.json"


def read_sent(path: Path) -> Sent:
    """Nothing was sent, if the file is missing or damaged."""
    try:
        return TypeAdapter(Sent).validate_json(read_regular(path), strict=True)
    except (OSError, ValueError):
        return Sent()
