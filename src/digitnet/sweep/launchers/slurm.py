"""Runs jobs on a Slurm cluster, submitted as a job array with submitit."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from digitnet.atomic import read_regular, write_atomically
from digitnet.config.launcher_schema import SlurmLauncherConfig
from digitnet.errors import ConfigError, DigitnetError
from digitnet.sweep.worker import read_failure, run_recorded

QUERY_SECONDS = 2.0  # between two calls of squeue: the controller serves the whole cluster
NO_LIMIT = 10_000  # jobs of an array at a time


class SlurmLauncher:
    """A `Launcher` for a Slurm cluster, whose controller queues the jobs.

    The jobs' Slurm ids are stored in the sweep's folder: a resumed sweep waits for the jobs that Slurm still has.
    """

    def __init__(self, folder: Path, options: SlurmLauncherConfig, trust: bool) -> None:
        try:
            import submitit
        except ImportError:
            raise ConfigError(
                "hydra/launcher=slurm: submitit is not installed; pip install 'digitnet[slurm]'"
            ) from None
        if shutil.which("sbatch") is None:
            raise DigitnetError(
                "hydra/launcher=slurm: this machine has no sbatch; start the sweep where Slurm is, on a login node,\n"
                "or on this machine: hydra/launcher=local"
            )
        self._folder, self._trust = folder, trust
        self._ids_file = folder / ".slurm" / "jobs.json"
        self._pending: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._queried_at = 0.0
        self._executor: Any = submitit.SlurmExecutor(
            folder=folder / ".slurm",
            max_num_timeout=options.requeues,
            python=f"{shlex.quote(sys.executable)} -P",  # nothing of the working directory can be imported
        )
        self._executor.update_parameters(
            job_name="digitnet",
            time=options.minutes,
            signal_delay_s=options.grace_seconds,
            cpus_per_task=options.cpus,
            gpus_per_node=options.gpus or None,
            mem=None if options.memory_gb is None else f"{max(1, round(1024 * options.memory_gb))}M",
            array_parallelism=options.jobs or NO_LIMIT,
            stderr_to_stdout=True,
            partition=options.partition,
            account=options.account,
            qos=options.qos,
            constraint=options.constraint,
        )

    def submit(self, names: list[str]) -> None:
        """See `Launcher`."""
        if not names:
            return
        ids = self._read_ids()
        states = _query_states(list(ids.values()))
        self._pending |= {name: ids[name] for name in names if ids.get(name) in states}
        new = [name for name in names if name not in self._pending]
        if not new:
            return
        try:
            with self._executor.batch():
                jobs = [self._executor.submit(SlurmTask(), str(self._folder), name, self._trust) for name in new]
        except Exception as error:
            raise DigitnetError(f"hydra/launcher=slurm: {_last_line(error)}") from error
        self._pending |= {name: str(job.job_id) for name, job in zip(new, jobs, strict=True)}
        write_atomically(self._ids_file, json.dumps(ids | self._pending, indent=1).encode())

    def _read_ids(self) -> dict[str, str]:
        """The stored Slurm ids by the names of the jobs; empty if there are none, or the file is damaged."""
        try:
            content = json.loads(read_regular(self._ids_file))
        except (OSError, ValueError):
            return {}
        return {name: job_id for name, job_id in content.items() if re.fullmatch(r"\d+(_\d+)?", str(job_id))}

    def poll(self, seconds: float) -> dict[str, str | None]:
        """See `Launcher`."""
        time.sleep(seconds)
        if time.monotonic() - self._queried_at < QUERY_SECONDS:
            return {}
        self._states = _query_states(list(self._pending.values()))
        self._queried_at = time.monotonic()
        ended = [name for name, job_id in self._pending.items() if job_id not in self._states]
        return {name: self._failure_of(name, self._pending.pop(name)) for name in ended}

    def _failure_of(self, name: str, job_id: str) -> str | None:
        """Why a job that has ended failed, from its own report or else from Slurm; None if it did not fail."""
        if (failure := read_failure(self._folder, name)) is not None:
            return failure
        shown = subprocess.run(["scontrol", "show", "job", job_id], capture_output=True, text=True).stdout
        match = re.search(r"JobState=(\w+)", shown)
        state = match[1] if match else "no longer in Slurm's records"
        return (
            None
            if state == "COMPLETED"
            else f"Slurm job {job_id} is {state}; see {self._folder / '.slurm' / job_id}_0_log.out"
        )

    def stop(self, names: list[str] | None = None) -> list[str]:
        """See `Launcher`; jobs that wait in Slurm's queue are removed from it."""
        asked = {name: job_id for name, job_id in self._pending.items() if names is None or name in names}
        self._states = _query_states(list(asked.values()))
        dropped = [name for name, job_id in asked.items() if self._states.get(job_id) == "PENDING"]
        if asked:
            subprocess.run(["scancel", *asked.values()], capture_output=True)
        for name in dropped:
            del self._pending[name]
        return dropped

    def close(self) -> list[str]:
        """Kill no jobs: Slurm runs those that it has, and `digitnet resume` waits for them."""
        return []


class SlurmTask:
    """The function that Slurm runs. submitit calls `checkpoint` before the time limit, and queues what it returns."""

    def __call__(self, folder: str, name: str, trust: bool) -> None:
        run_recorded(Path(folder), name, trust)

    def checkpoint(self, *arguments: Any) -> Any:
        """The same call again, which will resume the job from its checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)


def _query_states(job_ids: list[str]) -> dict[str, str]:
    """Slurm's state (PENDING, RUNNING, ...) of each of these jobs that have not ended. Raises DigitnetError."""
    if not job_ids:
        return {}
    done = subprocess.run(["squeue", "--noheader", "--array", "--me", "--format=%i %T"], capture_output=True, text=True)
    if done.returncode != 0:
        reason = done.stderr.strip().partition("\n")[0]
        raise DigitnetError(f"squeue: {reason}; digitnet resume continues the sweep")
    states = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)
    return {job_id: states[job_id] for job_id in job_ids if job_id in states}


def _last_line(error: Exception) -> str:
    """The last line, sbatch's message, without the command that submitit prints before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
