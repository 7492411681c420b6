"""Go on with a run or a sweep that was killed, interrupted, or is to have more epochs.

digitnet resume RUN_DIR                      from its last checkpoint, with its own configuration
digitnet resume RUN_DIR trainer.epochs=30    beyond the epochs that it had
digitnet resume SWEEP_DIR                    the jobs that are not finished, as they were meant when it started
digitnet resume SWEEP_DIR hydra/launcher=ray elsewhere than before
digitnet resume SWEEP_DIR --trials 50        a search (digitnet tune), until it has as many trials

On a CPU the figures and weights are to the last bit those of a run that was never interrupted. What makes a run what it
is cannot be changed. What can: trainer.epochs, trainer.threads, trainer.reuse_memory, trainer.cuda_graph,
trainer.plateau_epochs, checkpoint.*, logger, data.root, data.bad_files, device.
"""

import argparse
import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.errors import CheckpointError, ConfigError
from digitnet.lock import PATIENCE_SECONDS, locked
from digitnet.runs.formats import RunSummary, read_summary
from digitnet.runs.reader import SWEEP_FILE
from digitnet.training.distributed import current_group

if TYPE_CHECKING:
    from digitnet.experiment.run import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the folder of the run, or of the sweep")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="KEY=VALUE", help="what is to be otherwise from here on"
    )
    parser.add_argument("--trials", type=int, metavar="N", help="of a search: how many it is to have, old and new")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="whom the folder is from: import the network that it names (model=custom), download its data",
    )


def main(options: argparse.Namespace) -> None:
    """Resume it, or say that it is done. Raises a DigitnetError, or OSError, where that cannot be."""
    if (Path(options.run_dir) / SWEEP_FILE).is_file():
        from digitnet.sweep.continuation import resume_sweep

        resume_sweep(Path(options.run_dir), options.overrides, options.trust, options.trials)
    elif options.trials is not None:
        raise ConfigError(f"--trials: {options.run_dir} is no search; of a run: trainer.epochs=N")
    elif resume(options.run_dir, *options.overrides, trust=options.trust) is None and current_group().rank == 0:
        print(f"{options.run_dir}: finished; for more: digitnet resume {shlex.quote(options.run_dir)} trainer.epochs=N")


def resume(
    run_dir: str | Path,
    *overrides: str,
    trust: bool = False,
    quiet: bool = False,
    patience: float = PATIENCE_SECONDS,
) -> "Result | None":
    """Go on with the run in `run_dir`; None if it is finished and nothing else is asked for.

    >>> resume("outputs/2026-01-31/12-00-00-1a2b3c", "trainer.epochs=30")

    A network of the run's own (model=custom) is imported only if you `trust` its folder. `quiet`, it prints nothing;
    for `patience` seconds it waits for another process to end its work there. Raises ConfigError,
    CheckpointError and, as the run itself does, other DigitnetErrors; the text says what to do.
    """
    from digitnet.config.compose import with_changes  # Hydra's half a second, which --help need not wait for
    from digitnet.config.schema import run_length

    folder = Path(run_dir)
    _summary(folder)  # first: no lock is to be made where no run is
    _check_harmless(folder)
    with locked(folder, patience) if current_group().rank == 0 else contextlib.nullcontext(lambda: None) as check:
        summary = _summary(folder)
        if not summary.config:
            raise CheckpointError(f"{folder / 'summary.json'}: of a version that could not resume; start the run anew")
        config = with_changes(summary.config, overrides, str(folder))
        epochs, had = run_length(config), summary.epochs
        if config.model.name == "custom" and not trust:
            raise ConfigError(_untrusted(folder, config.model.target))
        if summary.status == "diverged":
            raise ConfigError(
                f"{folder}: diverged, and would again; start a new run, with a lower optimizer.lr for instance,\n"
                f"from its best weights if you like: init_from={folder / 'checkpoints' / 'best.pt'}"
            )
        if epochs < had:
            raise ConfigError(f"trainer.epochs={epochs}: the run has {had} already; ask for at least {had}")
        if summary.status == "finished" and epochs == had and not overrides:
            return None

        from digitnet.experiment import run

        command = shlex.join(["digitnet", "resume", str(run_dir), *overrides, *(["--trust"] if trust else [])])
        download = trust or any(override.startswith("data.root=") for override in overrides)
        return run.resume_experiment(config, folder, summary, check, command, download, quiet)


def _untrusted(folder: Path, target: str) -> str:
    return (
        f"{folder}: its network is {target}, which would be imported and run;\n"
        "if you trust whom the folder is from, add --trust"
    )


def _summary(folder: Path) -> RunSummary:
    path = folder / "summary.json"
    if not folder.is_dir():
        if "=" in folder.name:
            raise ConfigError(f"{folder}: no such folder; RUN_DIR comes first: digitnet resume RUN_DIR {folder}")
        raise ConfigError(f"{folder}: not a folder; give that of a run")
    try:
        return read_summary(path)
    except FileNotFoundError:
        runs = sorted(folder.glob("*/summary.json")) or sorted(folder.glob("*/*/summary.json"))
        if runs:
            hint = f"give one of the runs in it, {runs[-1].parent} for instance"
        elif (folder.parent / "summary.json").exists():
            hint = f"give {folder.parent}"
        elif (folder / "checkpoints").is_dir():
            hint = "bring it back; without, the weights serve a new run: init_from=RUN_DIR"
        elif (folder / ".hydra").is_dir():
            hint = "it did not get as far as training; start it again"
        else:
            hint = "give the folder of a run or of a sweep"
        raise ConfigError(f"{folder}: no summary.json there; {hint}") from None
    except ValueError as error:
        raise CheckpointError(
            f"{path}: not a run's summary ({error});\n"
            "bring it back; without, the weights serve a new run: init_from=RUN_DIR"
        ) from error


def _check_harmless(folder: Path) -> None:
    """A folder from somebody else could lead writes to any file of the user's, or have them wait for ever."""
    for path in [*folder.iterdir(), *folder.glob("checkpoints/*")]:
        if path.is_symlink():
            raise CheckpointError(f"{path}: a link, which no run makes; replace it by what it stands for")
        if not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"{path}: neither a file nor a folder; remove it")
