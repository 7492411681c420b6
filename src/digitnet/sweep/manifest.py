"""sweep.json, which lists the jobs of a sweep with their configurations, as they were when it started."""

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from digitnet.atomic import read_regular, write_atomically
from digitnet.config.dimension import Dimension
from digitnet.config.launcher_schema import LauncherConfig
from digitnet.errors import CheckpointError, ConfigError
from digitnet.runs.folder import SWEEP_FILE, RunFolder
from digitnet.runs.formats import RunSummary, is_job_name


@dataclass(frozen=True)
class Job:
    """A run of the sweep, in the folder `name` below the sweep's."""

    name: str
    overrides: list[str]
    command: str
    config: dict[str, Any]


@dataclass
class Search:
    """What `digitnet tune` searches: `trials` jobs with the overrides `fixed` and a value from `space` for each key.

    `of_hydra` are the overrides of Hydra's own keys. `prune` stops trials that fall behind. `directories` and `root`
    are those of the `Tree` that the search started with, for the commands of its trials.
    """

    space: dict[str, Dimension]
    fixed: list[str]
    of_hydra: list[str]
    trials: int
    prune: bool
    directories: list[str]
    root: str


@dataclass
class Sweep:
    """A sweep or, with `search`, a search; `cwd` is the working directory that relative paths start from."""

    folder: Path
    command: str
    cwd: str
    launcher: LauncherConfig
    jobs: dict[str, Job] = field(default_factory=dict)
    search: Search | None = None  # adds jobs while it runs

    def write(self) -> None:
        """Write sweep.json, atomically. Raises OSError."""
        content = asdict(self) | {"launcher": self.launcher.model_dump()}
        del content["folder"]
        write_atomically(self.folder / SWEEP_FILE, (json.dumps(content, indent=1) + "\n").encode())

    def run_folder(self, name: str) -> RunFolder:
        """The folder of the job's run."""
        return RunFolder(self.folder / name)

    def summary(self, name: str) -> RunSummary | None:
        """The job's summary.json; None before the job has started, or if the file cannot be read."""
        try:
            return self.run_folder(name).read_summary()
        except (OSError, ValueError):
            return None


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Sweep)


def read_manifest(folder: Path) -> Sweep:
    """The inverse of `Sweep.write`. Raises ConfigError if there is no sweep.json, CheckpointError if it is damaged."""
    path = folder / SWEEP_FILE
    try:
        content = json.loads(read_regular(path))
        sweep: Sweep = _adapter().validate_python({**content, "folder": folder.absolute()})
    except FileNotFoundError:
        raise ConfigError(f"{folder}: no {SWEEP_FILE} there; give the folder of a sweep") from None
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise CheckpointError(f"{path}: not a sweep's ({what}); restore it, or resume the runs one by one") from error
    for name, job in sweep.jobs.items():
        if not is_job_name(name) or job.name != name:
            raise CheckpointError(f"{path}: {name!r} is not the name of a job")
    return sweep
