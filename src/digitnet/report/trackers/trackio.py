"""Trackio: a run of a project in the local store, which `trackio show` shows, or in a Hugging Face Space."""

import secrets
import shlex
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
        name = f"{run.name}-{secrets.token_hex(2)}"  # by which it is found again; folders may have the same
        if previous is not None:
            try:
                self._run = self._opened(run, previous, "must")
                return previous
            except ValueError:  # there is no such run
                pass
        self._run = self._opened(run, name, "never")
        return name

    def _opened(self, run: TrackedRun, name: str, resume: str) -> "Run":
        import trackio

        return trackio.init(
            self._project,
            name=name,
            group=run.group,
            space_id=self._space,
            config={**run.parameters, **run.tags, "run_dir": str(run.folder)},
            resume=resume,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    @property
    def address(self) -> str | None:
        if self._space is not None:
            return f"https://huggingface.co/spaces/{self._space}"
        return f"trackio show --project {shlex.quote(self._project)}"

    def log(self, axis: Axis, number: int, values: Mapping[str, float]) -> None:
        assert self._run is not None
        self._run.log(dict(values), step=number)

    def end(self, outcome: Outcome) -> None:
        import trackio

        assert self._run is not None
        pictures = {path.stem: trackio.Image(str(path)) for path in outcome.pictures}
        self._run.log({**outcome.test, **pictures, "status": outcome.status}, step=outcome.epoch)
        self._run.finish()  # type: ignore[no-untyped-call]
