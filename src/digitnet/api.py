"""digitnet from Python and from notebooks."""

from pathlib import Path

from digitnet.config.compose import compose_run
from digitnet.config.files import Tree
from digitnet.experiment.resume import resume as resume
from digitnet.experiment.run import Result, run_experiment
from digitnet.runs.folder import RunFolder


def run(*overrides: str, run_dir: str | Path | None = None, config_dir: str | Path | None = None) -> Result:
    """Run one experiment, as `digitnet OVERRIDE …` would, and return its records and the trained network.

    >>> result = run("model=lenet5", "aug=distort", "trainer.epochs=5")
    >>> result.records[-1].val_acc, result.test.errors, result.model

    It leaves the same files, in `run_dir` or, without, in a folder of its own below outputs/. Options are looked for in
    `config_dir`, in ./conf, and among the packaged ones. Raises ConfigError for what is wrong with the configuration
    before anything is trained, and other DigitnetErrors where the run fails; the text says what to do.
    """
    where = [f"hydra.run.dir={_quoted(run_dir)}"] if run_dir is not None else []
    ready = compose_run([*overrides, *where], Tree.at(config_dir))
    with RunFolder.claim(ready.run_dir, ready.hydra_files()) as folder:
        return run_experiment(ready.config, folder, ready.command)


def _quoted(path: str | Path) -> str:
    """As Hydra's grammar has it, spaces and all."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
