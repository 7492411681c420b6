"""Which jobs of a sweep are resumed, and what cannot be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, Command, write
from digitnet.config.files import Tree
from digitnet.runs.formats import RunSummary
from digitnet.sweep.continuation import is_unfinished
from digitnet.sweep.plan import plan_sweep
from sweeping import SWEEP, status_of


@pytest.fixture
def sweep() -> Path:
    """The folder of a sweep of two jobs, of which none has started."""
    plan = plan_sweep([*TINY, "trainer.epochs=1", "seed=0,1", "hydra.sweep.dir=sweep"], Tree.at())
    jobs = plan.jobs(plan.request.combinations())
    with plan.claimed():
        plan.write_down(jobs)
    return SWEEP


@pytest.mark.parametrize(
    ("status", "unfinished"),
    [("running", True), ("interrupted", True), ("failed", True), ("finished", False), ("diverged", False)],
)
def test_all_but_finished_and_diverged_jobs_are_unfinished(status: str, unfinished: bool) -> None:
    assert is_unfinished(RunSummary(status, "", 0, {})) == unfinished
    assert is_unfinished(None)


def error_of(command: Command, *overrides: str) -> str:
    done = command("resume", "sweep", *overrides)
    assert done.code in (1, 2)
    return done.err


def test_only_the_launcher_of_a_sweep_can_be_changed(command: Command, sweep: Path) -> None:
    assert error_of(command, "optimizer.lr=3") == (
        "error: optimizer.lr=3: cannot be changed in a sweep, only hydra/launcher and its keys; "
        "of one run it can: digitnet resume sweep/JOB optimizer.lr=3\n"
    )
    assert error_of(command, "hydra/launcher=locl").startswith(
        "error: hydra/launcher=locl: no such option … did you mean 'local'?"
    )


def test_sweep_with_networks_of_its_own_needs_trust(command: Command, sweep: Path) -> None:
    content: dict[str, Any] = json.loads((sweep / "sweep.json").read_text())
    content["jobs"]["seed=1"]["config"]["model"] = {"name": "custom", "target": "mine:Net", "kwargs": None}
    write(sweep / "sweep.json", json.dumps(content))
    write(Path("mine.py"), "open('imported', 'w').close()\n")
    assert error_of(command) == (
        "error: sweep: its network is mine:Net, which would be imported and run;\n"
        "if you trust the source of this folder, add --trust\n"
    )
    assert not Path("imported").exists()


def test_links_in_a_sweeps_folder_are_refused(command: Command, sweep: Path) -> None:
    (sweep / "linked").symlink_to("/")
    assert error_of(command) == ("error: sweep/linked: a link, which no run creates; replace it by what it points to\n")


def change(sweep: Path, **values: Any) -> None:
    """Change sweep.json as somebody might before giving the folder away."""
    content = json.loads((sweep / "sweep.json").read_text())
    write(sweep / "sweep.json", json.dumps(content | values))


def test_working_directory_of_somebody_elses_sweep_is_not_entered(command: Command, sweep: Path) -> None:
    inside = sweep.absolute()
    change(sweep, cwd=str(inside))
    before = Path.cwd()
    done = command("resume", "sweep")
    assert (done.code, done.err, Path.cwd()) == (0, "", before)
    assert command("resume", "sweep", "--trust").code == 0
    assert Path.cwd() == inside  # relative paths start there


def test_relative_path_in_a_sweep_from_elsewhere_needs_trust(command: Command, sweep: Path) -> None:
    content: dict[str, Any] = json.loads((sweep / "sweep.json").read_text())
    content["jobs"]["seed=1"]["config"]["init_from"] = "before"
    change(sweep, cwd="/gift", jobs=content["jobs"])
    assert error_of(command) == (
        "error: init_from=before: starts from /gift, where the sweep sweep was started;\n"
        "resume it there or, if you trust the source of its folder, add --trust\n"
    )
    folder = {"name": "folder", "root": "mine", "test_fraction": 0.2, "invert": False, "bad_files": "error"}
    content["jobs"]["seed=1"]["config"] |= {"init_from": None, "data": {**folder, "validation": "test"}}
    change(sweep, cwd="/gift", jobs=content["jobs"])
    assert error_of(command).startswith("error: data.root=mine: starts from /gift, where the sweep sweep was started;")
    change(sweep, cwd=str(Path.cwd()), jobs=content["jobs"])
    assert error_of(command) == "error: 1 job of 2 failed; to try again: digitnet resume sweep\n"


def test_cluster_that_somebody_elses_sweep_names_is_not_connected_to(command: Command, sweep: Path) -> None:
    change(sweep, launcher={"name": "ray", "address": "127.0.0.1:9", "jobs": None, "cpus": 1.0, "gpus": 0.0})
    assert error_of(command) == (
        "error: sweep: its jobs would run on the Ray cluster at 127.0.0.1:9;\n"
        "if you trust the source of this folder, add --trust; or say where they are to run: hydra/launcher=local\n"
    )
    assert "hydra.launcher.address=127.0.0.1:9: no Ray cluster answers there" in error_of(command, "--trust")
    assert command("resume", "sweep", "hydra/launcher=serial").code == 0


@pytest.mark.parametrize("name", ["train.log", "output.txt", "checkpoints", ".hydra", "checkpoints/last.pt"])
def test_links_in_the_folder_of_a_job_that_has_not_started_are_refused(
    command: Command, sweep: Path, name: str
) -> None:
    shutil.rmtree(sweep / "seed=0")
    victim = Path("victim.pt" if name.endswith(".pt") else "victim")
    if name in ("checkpoints", ".hydra"):
        victim.mkdir()
    else:
        write(victim, "precious")
    (sweep / "seed=0" / name).parent.mkdir(parents=True)
    (sweep / "seed=0" / name).symlink_to(victim.absolute())
    done = command("resume", "sweep")
    assert done.code == 1
    assert f"seed=0: failed: {(sweep / 'seed=0' / name).absolute()}: a link, which no run creates" in done.out
    assert (victim.is_dir() and not list(victim.iterdir())) or victim.read_text() == "precious"
    assert status_of("seed=1") == "finished"


def test_job_with_a_damaged_configuration_is_named_and_the_others_go_on(command: Command, sweep: Path) -> None:
    content: dict[str, Any] = json.loads((sweep / "sweep.json").read_text())
    del content["jobs"]["seed=0"]["config"]["device"]
    change(sweep, jobs=content["jobs"])
    done = command("resume", "sweep")
    assert (done.code, done.err) == (1, "error: 1 job of 2 failed; to try again: digitnet resume sweep\n")
    assert f"seed=0: failed: {sweep.absolute()}/sweep.json: device: has no value; " in done.out
    assert status_of("seed=1") == "finished"
