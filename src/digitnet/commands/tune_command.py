"""Search for the best values with Optuna, which proposes trials, and stops those that fall behind.

digitnet tune 'optimizer.lr=tag(log,interval(0.01,3))' optimizer=sgd,adam
digitnet tune 'optimizer.lr=tag(log,interval(0.01,3))' 'trainer.batch_size=int(interval(16,256))' --trials 50
digitnet tune sweep=lr hydra/launcher=local      search the values of a preset
digitnet resume SWEEP_DIR                        resume a search that was killed or interrupted
digitnet resume SWEEP_DIR --trials 50            or give it more trials

A,B,C are choices; interval(A,B) is any value from A to B, tag(log,…) samples uniformly in the logarithm, int(…) only
integers. The trial with the highest validation accuracy is the best, so hold out images for validation:
data.validation=10000 of MNIST, 300 of the embedded digits. A trial that falls behind is stopped, after its third epoch
at the earliest; this is not a failure, nor is a trial that diverges. Trials are jobs of a sweep in outputs/sweeps/, and
run on its launchers: hydra/launcher=local, ray, slurm. Their results are also in Optuna's journal, optuna.log.
"""

import argparse

from digitnet.config.files import ROOT, Tree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="KEY=VALUE, and KEY=VALUES to search")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="how many trials to run (default: 20)")
    parser.add_argument("--no-pruning", action="store_true", help="train every trial to its end")
    parser.add_argument("--config-dir", metavar="FOLDER", help="as for training: your own options")
    parser.add_argument("--config-name", metavar="NAME", default=ROOT, help="use another root file than config.yaml")


def main(options: argparse.Namespace) -> None:
    """Search, and print the best trial. Raises as `start_search` does."""
    from digitnet.sweep.tuning import start_search  # imports Hydra, half a second, which --help does not need

    tree = Tree.at(options.config_dir, options.config_name)
    start_search(options.overrides, tree, options.trials, prune=not options.no_pruning)
