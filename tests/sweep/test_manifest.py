"""sweep.json: written, read, and damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import write
from digitnet.config.dimension import Dimension
from digitnet.config.launcher_schema import RayLauncherConfig
from digitnet.errors import CheckpointError, ConfigError
from digitnet.sweep.manifest import Job, Search, Sweep, read_manifest

RAY = RayLauncherConfig(name="ray", address="auto", jobs=2, cpus=1.0, gpus=0.5)
JOB = Job("seed=1", ["seed=1"], "digitnet seed=1", {"seed": 1})


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """That of sweep.json in the working directory."""
    Sweep(tmp_path, "digitnet -m seed=1", str(tmp_path), RAY, {JOB.name: JOB}).write()
    found: dict[str, Any] = json.loads(Path("sweep.json").read_text())
    return found


def test_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    space = {"optimizer": Dimension(choices=["sgd", "adam"]), "optimizer.lr": Dimension(low=0.1, high=1.0, log=True)}
    search = Search(space, ["seed=1"], ["hydra/launcher=ray"], 20, True, ["conf"], "config")
    for sweep in (
        Sweep(tmp_path, "digitnet -m seed=1", "/here", RAY, {JOB.name: JOB}),
        Sweep(tmp_path, "digitnet tune", "/here", RAY, {}, search),
    ):
        sweep.write()
        assert read_manifest(tmp_path) == sweep
        assert read_manifest(Path()) == sweep


def error_of(content: dict[str, Any] | str) -> str:
    write(Path("sweep/sweep.json"), content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CheckpointError) as caught:
        read_manifest(Path("sweep"))
    return str(caught.value)


def test_damaged_manifest_is_reported(content: dict[str, Any]) -> None:
    assert error_of("{").startswith("sweep/sweep.json: not a sweep's (Expecting property name")
    assert error_of({**content, "jobs": {"seed=1": {}}}).startswith("sweep/sweep.json: not a sweep's (")
    assert error_of("[" * 100_000).startswith("sweep/sweep.json: not a sweep's (maximum recursion depth")
    assert error_of({**content, "jobs": {"../x": {}}}).startswith("sweep/sweep.json: not a sweep's (")


def test_manifest_of_a_version_without_searches_is_read(tmp_path: Path, content: dict[str, Any]) -> None:
    del content["search"]
    write(tmp_path / "sweep.json", json.dumps(content))
    assert read_manifest(tmp_path).jobs == {JOB.name: JOB}


def test_job_outside_the_sweeps_folder_is_refused(content: dict[str, Any]) -> None:
    for name in ("../x", ".x", "a/b", "", "a\0b", "\ud800", "x" * 256):
        damaged = {**content, "jobs": {name: {**content["jobs"]["seed=1"], "name": name}}}
        assert error_of(damaged) == f"sweep/sweep.json: {name!r} is not the name of a job"
    renamed = {**content, "jobs": {"seed=1": {**content["jobs"]["seed=1"], "name": "../x"}}}
    assert error_of(renamed) == "sweep/sweep.json: 'seed=1' is not the name of a job"


def test_missing_manifest_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_manifest(Path("other"))
    assert str(caught.value) == "other: no sweep.json there; give the folder of a sweep"


def test_unreadable_summary_is_none(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "", "", RAY, {JOB.name: JOB})
    assert sweep.summary(JOB.name) is None
    write(tmp_path / JOB.name / "summary.json", "{")
    assert sweep.summary(JOB.name) is None
