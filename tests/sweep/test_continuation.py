"""Which jobs of a sweep are resumed, and what cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Command, write
from digitnet.config.files import Tree
from digitnet.runs.formats import RunSummary
from digitnet.sweep.continuation import is_unfinished
from digitnet.sweep.plan import plan_sweep
from sweeping import SWEEP


@pytest.fixture
def sweep() -> Path:
    """The folder of a sweep of two jobs, of which none has started."""
    plan = plan_sweep(["data=digits", "trainer.epochs=1", "seed=0,1", "hydra.sweep.dir=sweep"], Tree.at())
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
    assert error_of(command) == (
        "error: sweep/linked: a link, which no run creates; replace it by the file that it points to\n"
    )
