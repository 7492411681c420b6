"""Runs, sweeps and checkpoints of digitnet as it was before its files were moved into rooms: compared, resumed, read.

tests/earlier_versions holds, as commit 95097e0 wrote them: a run of LeNet-5 that SIGTERM interrupted in its second
epoch; a sweep of four jobs, of which one waits and the others lack the checkpoints, to be small; a checkpoint.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from conftest import CHECKOUT, Command
from digitnet.config.rules import parse_config
from digitnet.runs.formats import read_metrics, read_summary
from digitnet.sweep.manifest import read_manifest

RUN, SWEEP = Path("run"), Path("sweep")
WAITING = "lr=0.001,seed=1"


@pytest.fixture(autouse=True)
def copies(tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "tests/earlier_versions", tmp_path, dirs_exist_ok=True)
    path = SWEEP / "sweep.json"
    path.write_text(path.read_text().replace("/home/someone/digits", str(tmp_path)))


def test_earlier_runs_and_sweeps_are_compared(command: Command) -> None:
    done = command("compare", "run", "sweep", "--format", "json")
    assert (done.code, done.err) == (0, "")
    rows = {os.path.relpath(row["folder"]): row for row in json.loads(done.out)}
    assert {name: (row["status"], row.get("epochs"), row.get("test_errors")) for name, row in rows.items()} == {
        "run": ("interrupted", 1, None),
        "sweep/lr=0.01,seed=0": ("finished", 2, 62),
        "sweep/lr=0.01,seed=1": ("finished", 2, 66),
        "sweep/lr=0.001,seed=0": ("finished", 2, 196),
        f"sweep/{WAITING}": ("waiting", None, None),
    }
    assert rows["run"]["error"].startswith("interrupted; checkpoints/last.pt is of step 61")
    assert rows["run"]["val_acc"] == read_metrics(RUN / "metrics.csv")[0].val_acc


def test_earlier_run_is_resumed_to_its_end(command: Command) -> None:
    before = (RUN / "metrics.csv").read_text()
    done = command("resume", "run")
    assert (done.code, done.err) == (0, "")
    assert "epoch 2, step 16 of 45\n" in done.out
    assert (RUN / "metrics.csv").read_text().startswith(before)
    assert [record.epoch for record in read_metrics(RUN / "metrics.csv")] == [1, 2, 3]
    summary = read_summary(RUN / "summary.json")
    assert (summary.status, summary.steps, summary.resumed) == ("finished", 3 * 45, ["digitnet resume run"])


def test_earlier_sweep_is_resumed_with_the_job_that_waits(command: Command) -> None:
    files = [path for path in SWEEP.glob("*/**/*") if path.is_file() and WAITING not in path.parts]
    finished = {path: path.read_bytes() for path in files}
    assert len(finished) == 3 * 6
    done = command("resume", "sweep", "--trust")
    assert (done.code, done.err) == (0, "")
    summary = read_summary(SWEEP / WAITING / "summary.json")
    assert (summary.status, summary.epochs, summary.seed) == ("finished", 2, 1)
    assert summary.config == parse_config(read_manifest(SWEEP).jobs[WAITING].config).model_dump(mode="json")
    assert {path: path.read_bytes() for path in finished} == finished


def test_earlier_checkpoint_serves_init_from(command: Command) -> None:
    options = ["model=fastnet", "data=digits", "data.enlarge_to=1437", "logger=metrics", "device=cpu"]
    options += ["optimizer=adam", "optimizer.lr=1e-7", "trainer.epochs=1"]
    done = command(*options, "init_from=fast/checkpoints/best.pt", "hydra.run.dir=new")
    assert (done.code, done.err) == (0, "")
    assert read_metrics(Path("new/metrics.csv"))[0].val_acc == pytest.approx(317 / 360, abs=0.02)  # as it was saved
