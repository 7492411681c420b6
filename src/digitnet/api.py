"""digitnet from Python and from notebooks."""

import re
from pathlib import Path

from digitnet.config.compose import compose_run
from digitnet.config.files import Tree
from digitnet.errors import ConfigError
from digitnet.experiment.loaded import LoadedNetwork
from digitnet.experiment.restore import load_finished
from digitnet.experiment.resume import resume_run
from digitnet.experiment.run import Result, run_experiment
from digitnet.experiment.trained import check_same_classes, open_trained, run_folders
from digitnet.lock import PATIENCE_SECONDS
from digitnet.runs.folder import RunFolder


def run(*overrides: str, run_dir: str | Path | None = None, config_dir: str | Path | None = None) -> Result:
    """Run one experiment, as `digitnet OVERRIDE …` does, and return its records and the trained network.

    >>> result = run("model=lenet5", "aug=distort", "trainer.epochs=5")
    >>> result.records[-1].val_acc, result.test.errors, result.model

    It writes the same files, to `run_dir` or, by default, to a new folder below outputs/. Config files are searched for
    in `config_dir`, then in ./conf, then in the packaged conf/. Raises ConfigError before training if anything is wrong
    with the configuration, and another DigitnetError if the run fails; the text says what to do.
    """
    run_dir_override = [f"hydra.run.dir={_quoted(run_dir)}"] if run_dir is not None else []
    composition = compose_run([*overrides, *run_dir_override], Tree.at(config_dir))
    with RunFolder.claim(composition.run_dir, composition.hydra_files()) as folder:
        return run_experiment(composition.config, folder, composition.command, warnings=composition.warnings)


def resume(
    run_dir: str | Path,
    *overrides: str,
    trust: bool = False,
    quiet: bool = False,
    patience: float = PATIENCE_SECONDS,
    config_dir: str | Path | None = None,
) -> Result:
    """Resume the run in `run_dir`, and return its records and the trained network; if it is finished, only that.

    >>> resume("outputs/2026-01-31/12-00-00-1a2b3c", "trainer.epochs=30")

    With model=custom, the network is imported only if you `trust` the folder. A `quiet` run prints nothing. It waits
    up to `patience` seconds for another process to release the folder. Options that `overrides` choose, `logger=mine`,
    are also searched for in `config_dir` and ./conf. Raises ConfigError, CheckpointError and, as the run itself does,
    other DigitnetErrors; the text says what to do.
    """
    result = resume_run(run_dir, *overrides, trust=trust, quiet=quiet, patience=patience, config_dir=config_dir)
    return load_finished(RunFolder.open(run_dir, trust)) if result is None else result


def load(*paths: str | Path, checkpoint: str = "last", trust: bool = False) -> LoadedNetwork:
    """Load the network of a run; of several runs, or of a sweep's folder, an ensemble.

    >>> network = load("outputs/2026-01-31/12-00-00-1a2b3c")
    >>> network.predict(["photo.jpg"])[0].predicted, network.evaluate().score.accuracy, network.model

    `checkpoint` is `last`, `best` or `epoch_N`. With model=custom, the network is imported only if you `trust` the
    folder. A .safetensors file that `digitnet export` wrote can be loaded, too. Raises ConfigError, CheckpointError.
    """
    if not paths:
        raise ConfigError("no run to load: give the folder of one")
    folders = [folder for path in paths for folder in run_folders(path)]
    members = [open_trained(folder, checkpoint, trust) for folder in folders]
    check_same_classes(members)
    return LoadedNetwork(members)


def _quoted(path: str | Path) -> str:
    r"""`path` in single quotes, escaped as OmegaConf and Hydra require.

    OmegaConf reads `\${` as `${` and, before it, two backslashes as one; Hydra does so before a quote and at the end.
    """
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(path))
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", text) + "'"
