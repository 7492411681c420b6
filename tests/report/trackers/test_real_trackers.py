"""Each tracker against the real thing: a run that is resumed, and then read back by the tracker's own reader."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import forking
from conftest import TINY, summary_in
from digitnet.report.trackers.mlflow import MlflowTracker
from digitnet.report.trackers.tensorboard import TensorBoardTracker
from digitnet.report.trackers.tracker import TrackedRun
from digitnet.runs.formats import read_metrics
from digitnet.training.record import EpochRecord

pytestmark = pytest.mark.slow

NAMES = ["tensorboard", "mlflow", "wandb", "trackio"]
PICTURES = ["confusion", "curves", "misclassified"]


@dataclass(frozen=True)
class Tracked:
    """A run of three epochs, of which the last is of a resumed process; it is a job of the sweep `mine`."""

    folder: Path
    server: str
    environment: dict[str, str]
    out: list[str]

    @property
    def records(self) -> list[EpochRecord]:
        return read_metrics(self.folder / "metrics.csv")

    def expect_epochs(self, found: list[tuple[int, float]]) -> None:
        """Exactly the run's validation accuracies, each once; some trackers have them as float32."""
        assert [number for number, _ in found] == [1, 2, 3]
        assert [value for _, value in found] == pytest.approx([record.val_acc for record in self.records], rel=1e-6)

    def expect_test(self, values: dict[str, float]) -> None:
        test = summary_in(self.folder)["test"]
        for key in ("accuracy", "loss", "errors"):
            assert values[f"test_{key}"] == pytest.approx(test[key], rel=1e-6)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a tracking server, with a database of its own, on the loopback interface."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["server", "--backend-store-uri", f"sqlite:///{folder}/runs.db", "--workers", "1", "--host", "127.0.0.1"]
    words += ["--port", address.rpartition(":")[2], "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        yield f"http://{address}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def tracked(server: str, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    folder = tmp_path_factory.mktemp("tracked")
    environment = {
        "TRACKIO_DIR": str(folder / "trackio"), "WANDB_MODE": "offline", "no_proxy": "127.0.0.1",
        "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",
    }  # fmt: skip

    def digitnet(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "digitnet", *arguments],
            env={**os.environ, **environment}, cwd=folder, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert "warning: tracker" not in done.stdout
        return done.stdout

    sweep = ["-m", *TINY, "logger=full", f"tracker=[{','.join(NAMES)}]", f"tracker.mlflow.uri={server}"]
    digitnet(*sweep, "seed=1", "tracker.every_steps=45", "hydra.sweep.dir=mine")
    (job,) = (path.parent for path in folder.glob("mine/*/summary.json"))
    out = digitnet("resume", f"mine/{job.name}", "trainer.epochs=3", "--trust")
    return Tracked(job, server, environment, out.splitlines())


def test_tensorboard_shows_the_run(tracked: Tracked) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(tracked.folder / "tensorboard"), size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    tracked.expect_epochs([(event.step, event.value) for event in events.Scalars("val_acc")])
    assert [event.value for event in events.Scalars("lr")] == pytest.approx([r.lr for r in tracked.records])
    assert [event.step for event in events.Scalars("step_loss")] == [45, 90, 135]
    tracked.expect_test(
        {f"test_{key}": events.Scalars(f"test_{key}")[-1].value for key in ("accuracy", "loss", "errors")}
    )
    for name in PICTURES:
        picture = events.Images(name)[-1]
        assert picture.encoded_image_string == (tracked.folder / f"{name}.png").read_bytes()
        assert (picture.width, picture.height) == struct.unpack(">II", picture.encoded_image_string[16:24])
    texts = {tag: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in ("run", "config", "status")}
    assert "| command | digitnet data=digits " in texts["run"]
    assert f"| run_dir | {tracked.folder} |" in texts["run"]
    assert json.loads(texts["config"].strip("`\n"))["model.name"] == "lenet5"
    assert texts["status"] == "finished"
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    parameters = HParamsPluginData.FromString(content).session_start_info.hparams
    assert parameters["optimizer.lr"].number_value == 1
    assert parameters["model.name"].string_value == "lenet5"
    assert parameters["trainer.reuse_memory"].bool_value
    assert f"tensorboard: tensorboard --logdir {tracked.folder}/tensorboard" in tracked.out


def test_mlflow_shows_the_run(tracked: Tracked) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracked.server)
    experiment = client.get_experiment_by_name("digitnet")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    history = {key: client.get_metric_history(run.info.run_id, key) for key in ("val_acc", "lr", "step_loss")}
    tracked.expect_epochs([(metric.step, metric.value) for metric in history["val_acc"]])
    assert [metric.value for metric in history["lr"]] == [record.lr for record in tracked.records]
    assert [metric.step for metric in history["step_loss"]] == [45, 90, 135]
    tracked.expect_test(run.data.metrics)
    assert (run.info.run_name, run.info.status) == (tracked.folder.name, "FINISHED")
    assert run.data.params["optimizer.lr"] == "1.0"
    assert run.data.params["trainer.epochs"] == "2"  # a parameter keeps its value
    assert run.data.tags["sweep"] == "mine"
    address = f"{tracked.server}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}"
    assert f"mlflow: {address}" in tracked.out
    assert run.data.tags["status"] == "finished"
    assert run.data.tags["command"].startswith("digitnet data=digits ")
    assert run.data.tags["run_dir"] == str(tracked.folder)
    assert sorted(file.path for file in client.list_artifacts(run.info.run_id)) == [f"{name}.png" for name in PICTURES]


def _wandb_records(folder: Path) -> Iterator[Any]:
    """The records of a W&B file, whose format is LevelDB's log: blocks of 32 KiB, records cut into parts."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    content, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def test_wandb_has_the_run_offline(tracked: Tracked) -> None:
    folders = sorted((tracked.folder / "wandb").glob("offline-run-*"))
    assert len({folder.name.rpartition("-")[2] for folder in folders}) == 1 < len(folders)  # the same run
    records = [record for folder in folders for record in _wandb_records(folder)]
    rows = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    epochs = [row for row in rows if "val_acc" in row]
    tracked.expect_epochs([(row["epoch"], row["val_acc"]) for row in epochs])
    assert [row["lr"] for row in epochs] == [record.lr for record in tracked.records]
    assert [row["step"] for row in rows if "step_loss" in row] == [45, 90, 135]
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.display_name, run.run_group, run.project) == (tracked.folder.name, "mine", "digitnet")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["optimizer.lr"] == 1
    assert config["run_dir"] == str(tracked.folder)
    assert config["command"].startswith("digitnet data=digits ")
    summary = {
        item.key: json.loads(item.value_json)
        for record in records
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    tracked.expect_test(summary)
    assert summary["status"] == "finished"
    assert [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"] == [0, 0]
    pictures = [path.name.partition("_")[0] for path in (folders[-1] / "files/media/images").iterdir()]
    assert sorted(pictures) == PICTURES
    assert f"wandb: wandb sync {folders[-1]}" in tracked.out


def test_trackio_has_the_run_in_its_store(tracked: Tracked) -> None:
    code = (
        "import json, trackio; from trackio.sqlite_storage import SQLiteStorage as store\n"
        "(run,) = trackio.Api().runs('digitnet')\n"
        "print(json.dumps([run.name, run.config, store.get_logs('digitnet', run.name)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **tracked.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    name, config, logs = json.loads(done.stdout.splitlines()[-1])
    assert name.startswith(f"{tracked.folder.name}-")
    assert (config["optimizer.lr"], config["run_dir"], config["_Group"]) == (1, str(tracked.folder), "mine")
    assert config["command"].startswith("digitnet data=digits ")
    epochs = sorted((log["step"], log["val_acc"]) for log in logs if "val_acc" in log)
    tracked.expect_epochs(epochs)
    assert sorted(log["step"] for log in logs if "step_loss" in log) == [45, 90, 135]
    last = [log for log in logs if "test_loss" in log][-1]
    tracked.expect_test(last)
    assert (last["status"], last["step"]) == ("finished", 3)
    assert "trackio: trackio show --project digitnet" in tracked.out
    for picture in PICTURES:
        assert last[picture]["_type"] == "trackio.image"


@pytest.mark.engine
def test_killed_run_is_marked_and_continued(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    words = [*TINY, "trainer.epochs=30", "data.enlarge_to=20000", "hydra.run.dir=run", "tracker=mlflow"]
    words += [f"tracker.mlflow.uri={server}", "tracker.mlflow.experiment=killed", "trainer.threads=1"]
    process = forking.digitnet(*words)
    client = MlflowClient(server)

    def status() -> str:
        run = client.get_run(json.loads(Path("run/trackers/mlflow.json").read_text())["run"])
        return f"{run.info.status} {run.data.tags['status']}"

    _wait_for(lambda: Path("run/metrics.csv").exists() and len(read_metrics(Path("run/metrics.csv"))) >= 2)
    _wait_for(lambda: json.loads(Path("run/trackers/mlflow.json").read_text())["epoch"] >= 1)
    assert status() == "RUNNING running"
    process.kill()
    process.communicate()
    _wait_for(lambda: status() == "KILLED killed")
    count = len(read_metrics(Path("run/metrics.csv")))
    done = forking.digitnet("resume", "run", "--trust", f"trainer.epochs={count + 2}")
    done.communicate(timeout=120)
    assert done.returncode == 0
    assert status() == "FINISHED finished"
    run = json.loads(Path("run/trackers/mlflow.json").read_text())["run"]
    steps = [metric.step for metric in client.get_metric_history(run, "val_acc")]
    assert steps == list(range(1, count + 3))


def _wait_for(condition: Any) -> None:
    for _ in range(600):
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    pytest.fail("it did not come")


def _tracked_run(name: str) -> TrackedRun:
    folder = Path(name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return TrackedRun("run", None, folder, {"optimizer.lr": 1.0}, {"command": "digitnet"})


def test_runs_of_one_name_in_one_folder_of_tensorboard_are_two_runs() -> None:
    tracker = TensorBoardTracker("events")
    first, second = (tracker.start(_tracked_run(name), None) for name in ("a/run", "b/run"))
    assert first != second
    assert len(list(Path("events/run").rglob("events.*"))) == 2
    assert tracker.start(_tracked_run("a/run"), first) == first
    assert tracker.start(_tracked_run("b/run"), second) == second
    assert tracker.start(_tracked_run("c/run"), "gone") not in (first, second, "gone")


def test_run_that_is_gone_from_mlflow_or_trackio_is_begun_anew(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(server, "gone")
    first = tracker.start(_tracked_run("run"), None)
    assert tracker.start(_tracked_run("run"), first) == first
    MlflowClient(server).delete_run(first)
    assert tracker.start(_tracked_run("run"), first) != first
    assert tracker.start(_tracked_run("run"), 32 * "0") not in (first, 32 * "0")
    code = (
        "import pathlib, sys; from digitnet.report.trackers.trackio import TrackioTracker\n"
        "from digitnet.report.trackers.tracker import TrackedRun\n"
        "tracker, run = TrackioTracker('digitnet', None), TrackedRun('run', None, pathlib.Path('run'), {}, {})\n"
        "print('name', tracker.start(run, sys.argv[1] or None)); tracker._run.log({'a': 1}); tracker._run.finish()"
    )

    def name(previous: str) -> str:
        done = subprocess.run([sys.executable, "-c", code, previous], capture_output=True, text=True, check=True)
        return done.stdout.partition("name ")[2].split()[0]

    monkeypatch.setenv("TRACKIO_DIR", str(Path("store").resolve()))
    first = name("")
    assert name(first) == first
    assert name("run-gone") not in (first, "run-gone")
