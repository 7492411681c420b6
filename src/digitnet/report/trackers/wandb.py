"""Weights & Biases: a run of a project, online or offline."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from digitnet.report.trackers.tracker import Axis, Outcome, TrackedRun

if TYPE_CHECKING:
    from wandb import Run


class WandbTracker:
    """A run of `project`, of `entity` (None: the account's default); `mode` None: $WANDB_MODE, or online."""

    name, package = "wandb", "wandb"

    def __init__(self, project: str, entity: str | None, mode: Literal["online", "offline"] | None) -> None:
        self._project, self._entity, self._mode = project, entity, mode
        self._run: Run | None = None

    def start(self, run: TrackedRun, previous: str | None) -> str:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self._run = wandb.init(
            project=self._project,
            entity=self._entity,
            mode=self._mode,
            id=previous,
            resume="allow",
            name=run.name,
            group=run.group,
            dir=str(run.folder),
            config={**run.parameters, "run_dir": str(run.folder), **run.tags},
            tags=[run.tags["git"]] if "git" in run.tags else None,
            allow_val_change=True,
            # Of the training process: this one has nothing to show of its own.
            settings=wandb.Settings(console="off", x_disable_stats=True, disable_git=True, disable_code=True),
        )
        self._run.define_metric("*", step_metric="epoch")
        self._run.define_metric("step_*", step_metric="step")
        return str(self._run.id)

    @property
    def address(self) -> str | None:
        assert self._run is not None
        return self._run.url or f"wandb sync {shlex.quote(str(Path(self._run.dir).parent))}"

    def log(self, axis: Axis, number: int, values: Mapping[str, float]) -> None:
        assert self._run is not None
        self._run.log({axis: number, **values})

    def end(self, outcome: Outcome) -> None:
        import wandb

        assert self._run is not None
        self._run.summary.update({**outcome.test, "status": outcome.status})
        if outcome.pictures:
            self._run.log({path.stem: wandb.Image(str(path)) for path in outcome.pictures})
        self._run.finish(exit_code=0 if outcome.status == "finished" else 1)
