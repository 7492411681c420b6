"""TensorBoard: event files, which `tensorboard --logdir outputs` shows."""

import json
import secrets
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitnet.report.trackers.tracker import Axis, Outcome, TrackedRun

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter


class TensorBoardTracker:
    """Event files in `tensorboard/` of the run's folder, or in a folder of the run's name in `folder`."""

    name, package = "tensorboard", "tensorboard"

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._events = Path()
        self._writer: EventFileWriter | None = None

    def start(self, run: TrackedRun, previous: str | None) -> str:
        from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = run.folder / "tensorboard"
        if self._folder is not None:
            folder = Path(self._folder).expanduser() / (run.group or "") / run.name
        name = previous or "."
        if _has_events(folder / name) is (previous is None):  # another run's, or no longer there
            name = secrets.token_hex(4)
        self._events = folder / name
        self._writer = EventFileWriter(str(self._events))
        if name == previous:
            return name
        group = f"{run.group}/{run.name}" if run.group else run.name
        session = SessionStartInfo(start_time_secs=time.time(), group_name=group)
        for key, value in run.parameters.items():
            if isinstance(value, str | None):
                session.hparams[key].string_value = str(value)
            elif isinstance(value, bool):
                session.hparams[key].bool_value = value
            else:
                session.hparams[key].number_value = value
        self._hparams(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=session))
        rows = "\n".join(f"| {key} | {value} |" for key, value in {**run.tags, "run_dir": run.folder}.items())
        self._text("run", f"| | |\n|-|-|\n{rows}")
        self._text("config", f"```\n{json.dumps(dict(run.parameters), indent=1)}\n```")
        return name

    @property
    def address(self) -> str | None:
        return f"tensorboard --logdir {shlex.quote(str(self._events))}"

    def log(self, axis: Axis, number: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add([Summary.Value(tag=key, simple_value=value) for key, value in values.items()], number)

    def end(self, outcome: Outcome) -> None:
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
        from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

        values = [Summary.Value(tag=key, simple_value=value) for key, value in outcome.test.items()]
        for path in outcome.pictures:
            with Image.open(path) as opened:
                width, height = opened.size
            image = Summary.Image(width=width, height=height, encoded_image_string=path.read_bytes())
            values.append(Summary.Value(tag=path.stem, image=image))
        self._add(values, outcome.epoch)
        self._text("status", outcome.status)
        status = STATUS_SUCCESS if outcome.status == "finished" else STATUS_FAILURE
        ending = SessionEndInfo(status=status, end_time_secs=time.time())
        self._hparams(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=ending))
        assert self._writer is not None
        self._writer.close()

    def _add(self, values: "list[Summary.Value]", step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        assert self._writer is not None
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self._writer.flush()

    def _text(self, tag: str, text: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        value = Summary.Value(tag=tag, tensor=make_tensor_proto([text.encode()]))
        value.metadata.CopyFrom(create_summary_metadata(display_name=tag, description=""))
        self._add([value])

    def _hparams(self, tag: str, content: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams.metadata import NULL_TENSOR, create_summary_metadata

        value = Summary.Value(tag=tag, tensor=NULL_TENSOR)
        value.metadata.CopyFrom(create_summary_metadata(content))
        self._add([value])


def _has_events(folder: Path) -> bool:
    return any(folder.glob("events.out.tfevents.*"))
