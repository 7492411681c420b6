"""MLflow: a run of an experiment, on a tracking server or in a local database."""

import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from digitnet.report.trackers.tracker import Axis, Outcome, TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATUSES = {"finished": "FINISHED", "interrupted": "KILLED", "killed": "KILLED"}  # others: FAILED
LONGEST_PARAMETER = 6000  # characters, of mlflow
LONGEST_TAG = 5000
MOST_PARAMETERS = 100  # in one request


class MlflowTracker:
    """A run at `uri` (None: $MLFLOW_TRACKING_URI, or mlflow.db in the working directory) in `experiment`."""

    name, package = "mlflow", "mlflow"

    def __init__(self, uri: str | None, experiment: str) -> None:
        self._uri, self._experiment, self._id = uri, experiment, ""
        self._client: MlflowClient | None = None

    def start(self, run: TrackedRun, previous: str | None) -> str:
        # A server that is gone: say so within seconds, not after mlflow's minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

        self._client = client = MlflowClient(self._uri)
        tags = {**run.tags, "run_dir": str(run.folder), "status": "running"}
        tags |= {"mlflow.source.git.commit": run.tags["git"]} if "git" in run.tags else {}
        tags |= {"sweep": run.group} if run.group is not None else {}
        tags = {key: value[:LONGEST_TAG] for key, value in tags.items()}
        if previous is not None:
            try:
                if client.get_run(previous).info.lifecycle_stage == "active":  # not "deleted"
                    client.update_run(previous, status="RUNNING")
                    for key, value in tags.items():
                        client.set_tag(previous, key, value)
                    self._id = previous
                    return previous
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                    raise
        self._id = client.create_run(self._experiment_id(), tags=tags, run_name=run.name).info.run_id
        parameters = [Param(key, str(value)[:LONGEST_PARAMETER]) for key, value in run.parameters.items()]
        for first in range(0, len(parameters), MOST_PARAMETERS):
            client.log_batch(self._id, params=parameters[first : first + MOST_PARAMETERS])
        return self._id

    def _experiment_id(self) -> str:
        """That of the experiment, which is made if it does not exist; another job may make it at the same time."""
        from mlflow.exceptions import MlflowException

        assert self._client is not None
        if found := self._client.get_experiment_by_name(self._experiment):
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(self._experiment))
        except MlflowException:
            if found := self._client.get_experiment_by_name(self._experiment):
                return str(found.experiment_id)
            raise

    @property
    def address(self) -> str | None:
        assert self._client is not None
        uri = self._client.tracking_uri
        if uri.startswith("http"):
            return (
                f"{uri.rstrip('/')}/#/experiments/{self._client.get_run(self._id).info.experiment_id}/runs/{self._id}"
            )
        return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"

    def log(self, axis: Axis, number: int, values: Mapping[str, float]) -> None:
        import time

        from mlflow.entities import Metric

        assert self._client is not None
        now = int(1000 * time.time())
        self._client.log_batch(self._id, [Metric(key, value, now, number) for key, value in values.items()])

    def end(self, outcome: Outcome) -> None:
        assert self._client is not None
        self.log("epoch", outcome.epoch, outcome.test)
        self._client.set_tag(self._id, "status", outcome.status)
        for path in outcome.pictures:
            self._client.log_artifact(self._id, str(path))
        self._client.set_terminated(self._id, STATUSES.get(outcome.status, "FAILED"))
