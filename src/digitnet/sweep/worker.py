"""A job of a sweep, in the process that does it, wherever that is."""

import os
from pathlib import Path

from digitnet.config.schema import Config
from digitnet.errors import as_digitnet_error
from digitnet.lock import locked
from digitnet.sweep import manifest

PATIENCE_SECONDS = 30.0  # with a process that is about to end in the job's folder: its sweep was killed just now


def run_job(folder: Path, name: str, trust: bool) -> str | None:
    """Begin the job of that name in the sweep's `folder`, or go on with it; returns why it failed.

    With `trust`, it may download data and import the network that its configuration names. Raises KeyboardInterrupt
    when interrupted; the job then has a checkpoint.
    """
    try:
        sweep = manifest.read_manifest(folder)
        job = sweep.jobs[name]
        run_dir = folder / name
        os.chdir(sweep.cwd)
        if (run_dir / "summary.json").exists():
            from digitnet.commands.resume_command import resume

            resume(run_dir, trust=trust, quiet=True, patience=PATIENCE_SECONDS)
        else:
            from digitnet.experiment import run

            run_dir.mkdir(exist_ok=True)
            with locked(run_dir, PATIENCE_SECONDS) as check:
                config = Config.model_validate(job.config)
                run.run_experiment(config, run_dir, check, job.command, quiet=True, download=trust)
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            import traceback

            traceback.print_exc()
        return str(as_digitnet_error(error))
    return None
