"""`--dry-run`: what a run or a sweep would do, and how long it may take here, without doing it."""

from collections.abc import Iterator, Sequence

from digitnet.config.compose import compose_run
from digitnet.config.files import Tree
from digitnet.config.launcher_schema import LocalLauncherConfig
from digitnet.config.rules import parse_config, run_length
from digitnet.config.schema import Config
from digitnet.errors import ConfigError, DataMissingError
from digitnet.sweep.capacity import jobs_at_once, on_gpus
from digitnet.sweep.plan import plan_sweep
from digitnet.text import duration, plural

SHOWN_JOBS = 20
MEASURED = 12  # kinds of jobs; of more, the others are taken to last as long as these on average
SAME_SPEED = ("optimizer", "schedule", "seed", "init_from", "logger", "tracker", "checkpoint")  # nearly


def dry_run(overrides: Sequence[str], tree: Tree, sweep: bool) -> Iterator[str]:
    """Lines about the jobs, their epochs and the time they may take. Raises ConfigError as the run or sweep would."""
    if not sweep:
        config = compose_run(overrides, tree).config
        yield f"1 run of {plural(run_length(config), 'epoch')}{_time([config], 1)}"
        return
    plan = plan_sweep(overrides, tree)
    if plan.request.sweeper is not None:
        raise ConfigError("--dry-run: the jobs of this sweeper depend on the results of earlier ones")
    jobs = plan.jobs(plan.request.combinations())
    configs = [parse_config(job.config) for job in jobs]
    launcher = plan.sweep.launcher
    at_once = min(len(jobs), jobs_at_once(launcher, on_gpus(jobs))) if isinstance(launcher, LocalLauncherConfig) else 0
    epochs = sum(run_length(config) for config in configs)
    yield f"{plural(len(jobs), 'job')}, {plural(epochs, 'epoch')}{_time(configs, at_once)}"
    yield from (f"  {job.name}" for job in jobs[:SHOWN_JOBS])
    if len(jobs) > SHOWN_JOBS:
        yield f"  and {len(jobs) - SHOWN_JOBS:,} more"


def _time(configs: Sequence[Config], at_once: int) -> str:
    """`; about 0:40, 2 at a time`; of jobs on a cluster (0), whose machines are not known, the time on this one."""
    from digitnet.experiment.estimate import estimated_seconds  # torch

    seconds: dict[str, float] = {}  # an epoch, by what decides on it
    keys = [config.model_dump_json(exclude={*SAME_SPEED}) for config in configs]
    for key, config in zip(keys, configs, strict=True):
        if key not in seconds and len(seconds) < MEASURED:
            try:
                seconds[key] = estimated_seconds(config) / run_length(config)
            except DataMissingError:
                return f"; data={config.data.name} is not on this machine yet, so the time is not known"
    mean = sum(seconds.values()) / len(seconds)
    total = sum(seconds.get(key, mean) * run_length(config) for key, config in zip(keys, configs, strict=True))
    if at_once == 0:
        return f"; about {duration(total)} of computation on this machine"
    return f"; about {duration(total / at_once)}" + (f", {at_once} at a time" if at_once > 1 else "")
