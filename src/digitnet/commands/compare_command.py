"""Compare runs and sweeps: the settings that differ, accuracies, errors, time.

digitnet compare outputs                             all runs in and below the folder, best first
digitnet compare SWEEP_DIR RUN_DIR                   only these
digitnet compare outputs --group-by optimizer.lr     mean ± standard deviation of the runs with the same value
digitnet compare outputs --where model=lenet5 --where 'val_acc>=0.98' --sort=-test_acc
digitnet compare outputs --format md > table.md
digitnet compare SWEEP_DIR --group-by lr --plot lr.png

KEY is a setting (optimizer.lr, or lr if no other key ends in .lr) or one of status, epochs, val_acc, val_loss,
best_val_acc, test_acc, test_errors, seconds, parameters; accuracies are fractions. Unfinished and damaged runs are
listed with their status, and are not included in means.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="the folder of a run or a sweep, or a folder that contains runs")
    add("--group-by", default="", metavar="KEYS", help="one row per value of KEY or KEY,KEY")
    add("--where", action="append", default=[], metavar="KEY=VALUE", help="only these runs; also !=, <, <=, >, >=")
    add("--sort", metavar="KEY", help="lowest first; --sort=-KEY for highest first (default: -val_acc)")
    add("--format", choices=("table", "csv", "json", "md"), default="table", help="(default: table)")
    add(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="draw curves, and the error against the swept setting; .svg and .pdf are possible too",
    )


def main(options: argparse.Namespace) -> None:
    """Print the table and draw the picture. Raises ConfigError for wrong `options`, OSError if writing fails."""
    from digitnet.report import comparison, curves, tables  # --help does not need them
    from digitnet.runs.reader import find_runs

    if options.plot is not None:
        curves.check_plot_path(options.plot)
    group_by = [key for key in options.group_by.split(",") if key]
    runs = comparison.filter_runs(find_runs(options.paths), options.where)
    tables.write_table(comparison.tabulate(runs, group_by, options.sort), options.format)
    if options.plot is not None:
        from digitnet.report.comparison_plot import plot_comparison  # matplotlib takes half a second

        plot_comparison(options.plot, runs, group_by)
