"""`digitnet -m`: runs all jobs of a new sweep."""

from collections.abc import Sequence

from digitnet.config.files import Tree
from digitnet.report.terminal import SweepView
from digitnet.sweep.manifest import Job
from digitnet.sweep.plan import optimize, plan_sweep
from digitnet.sweep.scheduler import scheduling
from digitnet.training.distributed import refuse_under_torchrun


def run_sweep(overrides: Sequence[str], tree: Tree) -> None:
    """Run a job for every combination of the values in `overrides`, or the jobs that another sweeper of Hydra proposes.

    Raises ConfigError before the first job if anything is wrong with the configuration, DigitnetError at the end if a
    job failed, KeyboardInterrupt when interrupted.
    """
    refuse_under_torchrun("a sweep")
    plan = plan_sweep(overrides, tree)
    jobs = plan.jobs(plan.request.combinations()) if plan.request.sweeper is None else []
    for warning in plan.request.warnings:
        SweepView().warning(warning)
    with plan.claimed(), scheduling(plan.sweep, True, jobs) as scheduler:

        def run_jobs(jobs: list[Job]) -> list[float | None]:
            plan.write_down(jobs)
            return scheduler.run([job.name for job in jobs])

        if plan.request.sweeper is None:
            run_jobs(jobs)
        else:
            optimize(plan, run_jobs)
