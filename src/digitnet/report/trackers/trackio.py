"""Trackio: a run of a project in the local store, which `trackio show` shows, or in a Hugging Face Space."""

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from digitnet.report.trackers.tracker import Axis, Outcome, TrackedRun

if TYPE_CHECKING:
    from trackio.run import Run


class TrackioTracker:
    """A run of `project`, in `space` ("user/name") or, if that is None, in $TRACKIO_DIR."""

    name, package = "trackio", "trackio"

    def __init__(self, project: str, space: str | None) -> None:
        self._project, self._space = project, space
        self._run: Run | None = None

    def start(self, run: TrackedRun, previous: str | None) -> str:
        import trackio

        # Runs are found again by their names, and runs of several folders may have the same.
        name = previous or f"{run.name}-{secrets.token_hex(2)}"
        self._run = trackio.init(
            self._project,
            name=name,
            group=run.group,
            space_id=self._space,
            config={**run.parameters, **run.tags, "run_dir": str(run.folder)},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return name

    def log(self, axis: Axis, number: int, values: Mapping[str, float]) -> None:
        assert self._run is not None
        self._run.log(dict(values), step=number)

    def end(self, outcome: Outcome) -> None:
        import trackio

        assert self._run is not None
        pictures = {path.stem: trackio.Image(str(path)) for path in outcome.pictures}
        self._run.log({**outcome.test, **pictures, "status": outcome.status}, step=outcome.epoch)
        self._run.finish()  # type: ignore[no-untyped-call]
