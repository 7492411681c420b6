"""A job in its own process, here in this one."""

from pathlib import Path

from digitnet.config.files import Tree
from digitnet.runs.formats import read_summary
from digitnet.sweep.plan import plan_sweep
from digitnet.sweep.worker import run_job
from searching import write_finished_search
from sweeping import SWEEP


def test_failed_job_returns_its_message() -> None:
    plan = plan_sweep(["data=folder", "data.root=nowhere", "seed=0,1", "hydra.sweep.dir=sweep"], Tree.at())
    jobs = plan.jobs(plan.request.combinations())
    with plan.claimed():
        plan.write_down(jobs)
    failure = run_job(SWEEP.absolute(), "seed=1", trust=True)
    assert failure is not None
    assert "nowhere" in failure
    summary = read_summary(SWEEP / "seed=1" / "summary.json")
    assert (summary.status, summary.error) == ("failed", failure)
    assert summary.command == "digitnet data=folder data.root=nowhere seed=1"


def test_finished_job_is_left_alone() -> None:
    write_finished_search()
    (path,) = SWEEP.glob("*/summary.json")
    before = path.read_bytes()
    assert run_job(SWEEP.absolute(), path.parent.name, trust=False) is None
    assert path.read_bytes() == before


def test_damaged_sweep_is_reported() -> None:
    assert run_job(Path("other"), "a", trust=False) == "other: no sweep.json there; give the folder of a sweep"
