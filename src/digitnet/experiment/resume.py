"""Resumes a run: checks the folder and the command without importing torch, then calls `restore`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.config.changes import with_changes
from digitnet.config.rules import named_destination, run_length, untrusted_destination
from digitnet.config.schema import Config
from digitnet.errors import CheckpointError, ConfigError
from digitnet.lock import PATIENCE_SECONDS
from digitnet.report.trackers.tracker import read_sent, sent_file
from digitnet.runs.folder import RunFolder
from digitnet.runs.formats import RunSummary

if TYPE_CHECKING:
    from digitnet.experiment.run import Result


def resume_run(
    run_dir: str | Path,
    *overrides: str,
    trust: bool = False,
    quiet: bool = False,
    patience: float = PATIENCE_SECONDS,
    config_dir: str | Path | None = None,
) -> "Result | None":
    """Resume the run in `run_dir`; returns None, without torch, if there is nothing left to do.

    That is so if it is finished, its trackers have all of it, and there are no `overrides`.
    Waits up to `patience` seconds for another process to release the folder. Otherwise as `api.resume`.
    """
    folder = RunFolder.open(run_dir, trust)  # first: no lock file is created in a folder that is not a run's
    with folder.locked(patience):
        summary = folder.read_summary_of_run()
        config = _config_to_resume(folder, summary, overrides, config_dir)
        unsent = [name for name in config.tracker.chosen if not read_sent(sent_file(folder.path, name)).is_ended]
        if summary.status == "finished" and not overrides and not unsent:  # perhaps before its last epoch
            return None
        from digitnet.experiment.restore import resume_training  # imports torch: seconds, only after the checks

        flags = [*(["--config-dir", str(config_dir)] if config_dir else []), *(["--trust"] if trust else [])]
        command = shlex.join(["digitnet", "resume", str(run_dir), *overrides, *flags])
        download = trust or any(override.startswith("data.root=") for override in overrides)
        return resume_training(config, folder, summary, command, download, quiet)


def _config_to_resume(
    folder: RunFolder, summary: RunSummary, overrides: tuple[str, ...], config_dir: str | Path | None
) -> Config:
    """The run's configuration with `overrides`. Raises ConfigError or CheckpointError if it cannot be resumed."""
    if not summary.config:
        raise CheckpointError(f"{folder.summary_file}: from a version that could not resume; start a new run")
    config = with_changes(summary.config, overrides, str(folder.path), config_dir)
    folder.refuse_untrusted(config)
    destination = named_destination(config.tracker.model_dump())
    given = {override.partition("=")[0] for override in overrides}
    if destination and not folder.trust and not given & {"tracker", destination.partition("=")[0]}:
        raise ConfigError(untrusted_destination(str(folder.path), destination))
    epochs, finished = run_length(config), summary.epochs
    if summary.status == "diverged":
        raise ConfigError(
            f"{folder.path}: diverged, and would again; start a new run, with a lower optimizer.lr for instance,\n"
            f"from its best weights if you like: init_from={folder.checkpoint_file('best')}"
        )
    if epochs < finished:
        raise ConfigError(f"trainer.epochs={epochs}: the run has {finished} already; ask for at least {finished}")
    return config
