"""Runs one job of a sweep, in a process on any machine."""

import os
from pathlib import Path

from digitnet.config.rules import parse_config
from digitnet.errors import as_digitnet_error
from digitnet.runs.folder import RunFolder
from digitnet.sweep.manifest import read_manifest

PATIENCE_SECONDS = 30.0  # if its sweep was just killed, the job's previous process may still be writing a checkpoint


def run_job(folder: Path, name: str, trust: bool) -> str | None:
    """Start or resume the job `name` of the sweep in `folder`; returns why it failed, or None.

    With `trust`, it may download data and import the network that its configuration names. Raises KeyboardInterrupt
    when interrupted, after writing a checkpoint.
    """
    try:
        sweep = read_manifest(folder)
        job = sweep.jobs[name]
        run_dir = folder / name
        os.chdir(sweep.cwd)
        run_folder = RunFolder(run_dir, trust)
        if run_folder.summary_file.exists():
            from digitnet.experiment.resume import resume

            resume(run_dir, trust=trust, quiet=True, patience=PATIENCE_SECONDS)
        else:
            from digitnet.experiment.run import run_experiment

            run_dir.mkdir(exist_ok=True)
            with run_folder.locked(PATIENCE_SECONDS):
                config = parse_config(job.config)
                run_experiment(config, run_folder, job.command, quiet=True, download=trust)
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            import traceback

            traceback.print_exc()
        return str(as_digitnet_error(error))
    return None
