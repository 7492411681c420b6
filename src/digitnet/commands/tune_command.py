"""Search for the best values: Optuna proposes trials, and stops those early that fall behind.

digitnet tune 'optimizer.lr=tag(log,interval(0.01,3))' optimizer=sgd,adam
digitnet tune 'optimizer.lr=tag(log,interval(0.01,3))' 'trainer.batch_size=int(interval(16,256))' --trials 50
digitnet tune sweep=lr hydra/launcher=local      the values of a preset
digitnet resume SWEEP_DIR                        resume a search that was killed or interrupted
digitnet resume SWEEP_DIR --trials 50            or give it more trials

A,B,C is a choice; interval(A,B) is any value between, tag(log,…) uniform in the logarithm, int(…) integers only. The
trial with the highest validation accuracy is the best, so hold out images for validation: data.validation=10000. A
trial that falls behind is stopped, after its third epoch at the earliest; neither that nor a trial that diverges is a
failure. Trials are jobs of a sweep in outputs/sweeps/, and run as its jobs do: hydra/launcher=local, ray, slurm. Their
results are also in Optuna's journal, optuna.log.
"""

import argparse

from digitnet.config.files import ROOT, Tree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="KEY=VALUE, and KEY=VALUES to search")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="how many to try (default: 20)")
    parser.add_argument("--no-pruning", action="store_true", help="let every trial train to its end")
    parser.add_argument("--config-dir", metavar="FOLDER", help="as for training: your own options, added to ./conf")
    parser.add_argument("--config-name", metavar="NAME", default=ROOT, help="another file than config.yaml as the root")


def main(options: argparse.Namespace) -> None:
    """Search, and print the best trial. Raises as `start_search` does."""
    from digitnet.sweep.tuning import start_search  # Hydra takes half a second to import, and --help need not wait

    tree = Tree.at(options.config_dir, options.config_name)
    start_search(options.overrides, tree, options.trials, prune=not options.no_pruning)
