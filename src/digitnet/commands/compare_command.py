"""Compare runs and sweeps: the settings that differ, accuracies, errors, time.

digitnet compare                                     all runs in and below outputs/, best first
digitnet compare SWEEP_DIR RUN_DIR                   only these
digitnet compare --group-by optimizer.lr             mean ± standard deviation over the seeds
digitnet compare --group-by lr --over data           … and over data sets
digitnet compare --where model=lenet5 --where 'val_acc>=0.98' --sort -test_acc
digitnet compare --columns lr,test_acc,folder --format md > table.md
digitnet compare SWEEP_DIR --group-by lr --plot lr.png

KEY is a setting (optimizer.lr, or lr if no other key ends in .lr) or one of status, epochs, val_acc, val_loss,
best_val_acc, test_acc, test_errors, seconds, parameters; accuracies are fractions. The headings of the table are such
KEYs. Unfinished and damaged runs are listed with their status, and are not included in means.
"""

import argparse
from pathlib import Path

from digitnet.atomic import check_output_file
from digitnet.errors import ConfigError
from digitnet.text import show

DEFAULT_PATH = "outputs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="a run, a sweep, or a folder that contains runs (default: outputs)")
    add(
        "--group-by",
        default="",
        metavar="KEYS",
        help="one row per value of KEY or KEY,KEY, and of what else differs",
    )
    add("--over", default="", metavar="KEYS", help="with --group-by: average over these as well, not over seeds only")
    add("--where", action="append", default=[], metavar="KEY=VALUE", help="only these runs; also !=, <, <=, >, >=")
    add("--sort", metavar="KEY", help="lowest first; -KEY for highest first (default: -val_acc)")
    add("--columns", default="", metavar="KEYS", help="only these columns")
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

    keys = {name: [key for key in getattr(options, name).split(",") if key] for name in ("group_by", "over", "columns")}
    if keys["over"] and not keys["group_by"]:
        raise ConfigError("--over needs --group-by: without it there is a row for each run")
    if options.plot is not None:
        check_output_file("--plot", options.plot, curves.PLOT_SUFFIXES, force=True)
    runs = comparison.filter_runs(find_runs(options.paths or [DEFAULT_PATH]), options.where)
    tables.write_table(comparison.tabulate(runs, sort=options.sort, **keys), options.format)
    if options.plot is not None:
        from digitnet.report.comparison_plot import plot_comparison  # matplotlib takes half a second

        written = plot_comparison(options.plot, runs, keys["group_by"], keys["over"])
        show(f"\n{written}" if options.format == "table" else written, stderr=options.format != "table")
