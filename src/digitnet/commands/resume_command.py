"""Resume a run or a sweep that was killed or interrupted, or train a run for more epochs.

digitnet resume RUN_DIR                      from its last checkpoint, with its own configuration
digitnet resume RUN_DIR trainer.epochs=30    for more epochs than it had
digitnet resume SWEEP_DIR                    the unfinished jobs, with their original configurations
digitnet resume SWEEP_DIR hydra/launcher=ray on another launcher
digitnet resume SWEEP_DIR --trials 50        a search (digitnet tune), until it has 50 trials

On a CPU, metrics and weights are bit-identical to those of a run that was never interrupted. Only these keys can be
changed:
KEYS
"""

import argparse
import shlex
import textwrap
from pathlib import Path

from digitnet.config.rules import changeable_keys_text, is_result
from digitnet.errors import ConfigError
from digitnet.runs.folder import SWEEP_FILE, RunFolder
from digitnet.text import show
from digitnet.training.distributed import current_group

__doc__ = (__doc__ or "").replace(
    "KEYS", textwrap.fill(f"{changeable_keys_text()}.", width=118, break_on_hyphens=False)
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the folder of the run, or of the sweep")
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE", help="settings to change")
    parser.add_argument("--trials", type=int, metavar="N", help="for a search: the total number of trials")
    parser.add_argument("--config-dir", metavar="FOLDER", help="as for training: your own options")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="trust a folder from somebody else: import the network that it names (model=custom), download its data,"
        " send figures to the tracker that it names",
    )


def main(options: argparse.Namespace) -> None:
    """Resume the run or the sweep, or print that the run is finished. Raises DigitnetError or OSError."""
    if (Path(options.run_dir) / SWEEP_FILE).is_file():
        from digitnet.sweep.continuation import resume_sweep

        resume_sweep(Path(options.run_dir), options.overrides, options.trust, options.trials, options.config_dir)
        return
    if options.trials is not None:
        raise ConfigError(f"--trials: {options.run_dir} is not a search; for a run, use trainer.epochs=N")
    from digitnet.experiment.resume import resume_run  # imports Hydra, half a second, which --help does not need

    resumed = resume_run(options.run_dir, *options.overrides, trust=options.trust, config_dir=options.config_dir)
    if resumed is None and current_group().rank == 0:
        more = f"; for more: digitnet resume {shlex.quote(options.run_dir)} trainer.epochs=N"
        debug = (RunFolder(Path(options.run_dir)).read_summary_of_run().config.get("debug") or {}).get("name", "none")
        show(f"{options.run_dir}: finished{more if is_result(debug) else ''}")
