"""Jobs on a Slurm cluster, as an array, by submitit."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from digitnet.atomic import write_atomically
from digitnet.config.schema import SlurmLauncherConfig
from digitnet.errors import ConfigError, DigitnetError
from digitnet.sweep.worker import run_job

ASK_SECONDS = 2.0  # between questions to Slurm, whose controller serves the whole cluster
NO_LIMIT = 10_000  # of jobs in an array at a time


class SlurmLauncher:
    """A launcher, see `drive.Launcher`.

    Slurm's numbers of the jobs are kept in the sweep's folder: a sweep that is resumed waits for those that are there.
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
        self._numbers = folder / ".slurm" / "jobs.json"
        self._pending: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._asked = 0.0
        self._executor: Any = submitit.SlurmExecutor(folder=folder / ".slurm", max_num_timeout=options.requeues)
        names = {"partition": options.partition, "account": options.account, "qos": options.qos}
        names["constraint"] = options.constraint
        self._executor.update_parameters(
            job_name="digitnet",
            time=options.minutes,
            signal_delay_s=options.grace_seconds,
            cpus_per_task=options.cpus,
            gpus_per_node=options.gpus or None,
            mem=None if options.memory_gb is None else f"{max(1, round(1024 * options.memory_gb))}M",
            array_parallelism=options.jobs or NO_LIMIT,
            stderr_to_stdout=True,
            **names,
        )

    def submit(self, names: list[str]) -> None:
        known = self._read_numbers()
        there = _states(list(known.values()))
        self._pending |= {name: known[name] for name in names if there.get(known.get(name, "")) is not None}
        new = [name for name in names if name not in self._pending]
        if not new:
            return
        try:
            with self._executor.batch():
                jobs = [self._executor.submit(Work(), str(self._folder), name, self._trust) for name in new]
        except Exception as error:
            raise DigitnetError(f"hydra/launcher=slurm: {_last_line(error)}") from error
        self._pending |= {name: str(job.job_id) for name, job in zip(new, jobs, strict=True)}
        write_atomically(self._numbers, json.dumps(known | self._pending, indent=1).encode())

    def _read_numbers(self) -> dict[str, str]:
        try:
            content = json.loads(self._numbers.read_bytes())
        except (OSError, ValueError):
            return {}
        return {name: number for name, number in content.items() if re.fullmatch(r"\d+(_\d+)?", str(number))}

    def poll(self, seconds: float) -> dict[str, str | None]:
        time.sleep(seconds)
        if time.monotonic() - self._asked < ASK_SECONDS:
            return {}
        self._states = _states(list(self._pending.values()))
        self._asked = time.monotonic()
        gone = [name for name, number in self._pending.items() if number not in self._states]
        return {name: self._fate(name, self._pending.pop(name)) for name in gone}

    def _fate(self, name: str, number: str) -> str | None:
        try:
            return _note(self._folder, name).read_text()
        except FileNotFoundError:
            shown = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True).stdout
        found = re.search(r"JobState=(\w+)", shown)
        state = found[1] if found else "unknown to it by now"
        return (
            None
            if state == "COMPLETED"
            else f"Slurm job {number} is {state}; see {self._folder / '.slurm' / number}_0_log.out"
        )

    def stop(self, names: list[str] | None = None) -> list[str]:
        """Those that wait in Slurm's queue are taken out of it."""
        asked = {name: number for name, number in self._pending.items() if names is None or name in names}
        self._states = _states(list(asked.values()))
        dropped = [name for name, number in asked.items() if self._states.get(number) == "PENDING"]
        if asked:
            subprocess.run(["scancel", *asked.values()], capture_output=True)
        for name in dropped:
            del self._pending[name]
        return dropped

    def close(self) -> None:
        """Slurm goes on with what is there; `digitnet resume` waits for it."""


class Work:
    """What Slurm runs. submitit asks for `checkpoint` when the time limit is near, and queues what it returns."""

    def __call__(self, folder: str, name: str, trust: bool) -> None:
        note = _note(Path(folder), name)
        note.unlink(missing_ok=True)
        if why := run_job(Path(folder), name, trust):
            note.write_text(why)

    def checkpoint(self, *arguments: Any) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)


def _note(folder: Path, name: str) -> Path:
    """Where a job says why it failed."""
    return folder / ".slurm" / f"{name}.txt"


def _states(numbers: list[str]) -> dict[str, str]:
    """Slurm's word for each of these jobs that has not ended: PENDING, RUNNING, ... Raises DigitnetError."""
    if not numbers:
        return {}
    done = subprocess.run(["squeue", "--noheader", "--array", "--me", "--format=%i %T"], capture_output=True, text=True)
    if done.returncode != 0:
        raise DigitnetError(
            f"squeue: {done.stderr.strip().partition(chr(10))[0]}; digitnet resume goes on with the sweep"
        )
    pairs = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)
    return {number: pairs[number] for number in numbers if number in pairs}


def _last_line(error: Exception) -> str:
    """submitit shows the whole command before what sbatch had to say."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
