"""Put runs and sweeps side by side: the settings that differ, accuracies, errors, time.

digitnet compare outputs                             all runs below the folder, best first
digitnet compare SWEEP_DIR RUN_DIR                   these
digitnet compare outputs --group-by optimizer.lr     mean ± standard deviation over the others (seeds)
digitnet compare outputs --where model=lenet5 --where 'val_acc>=0.98' --sort=-test_acc
digitnet compare outputs --format md > table.md
digitnet compare SWEEP_DIR --group-by lr --plot lr.png

KEY is a setting (optimizer.lr, or lr where no other key ends so) or one of status, epochs, val_acc, val_loss,
best_val_acc, test_acc, test_errors, seconds, parameters; accuracies are fractions. What is unfinished or damaged is
listed as such, and in no mean.
"""

import argparse
import sys
from pathlib import Path

from digitnet.errors import ConfigError

ENDINGS = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="the folder of a run or a sweep, or one with such in it")
    add("--group-by", default="", metavar="KEYS", help="a row for each of their values, KEY or KEY,KEY")
    add("--where", action="append", default=[], metavar="KEY=VALUE", help="only these runs; also !=, <, <=, >, >=")
    add("--sort", metavar="KEY", help="the lowest first, --sort=-KEY the highest (default: -val_acc)")
    add("--format", choices=("table", "csv", "json", "md"), default="table", help="(default: table)")
    add("--plot", type=Path, metavar="FILE.png", help="draw curves, and the error against what was swept; or svg, pdf")


def main(options: argparse.Namespace) -> None:
    """Print the table, draw the picture. Raises ConfigError for what is not there, OSError for a full disk."""
    from digitnet.report import comparison
    from digitnet.runs import reader  # what --help need not wait for

    if options.plot is not None and options.plot.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--plot {options.plot}: ends in none of {', '.join(ENDINGS)}")
    if options.plot is not None and not options.plot.absolute().parent.is_dir():
        raise ConfigError(f"--plot {options.plot}: the folder {options.plot.parent} is not there; make it first")
    found = comparison.where(reader.find_runs(options.paths), options.where)
    keys = [key for key in options.group_by.split(",") if key]
    table = comparison.tabulate(found, keys, options.sort)
    if options.format == "table":
        comparison.show_comparison(table)
    else:
        formats = {"csv": comparison.as_csv, "json": comparison.as_json, "md": comparison.as_markdown}
        sys.stdout.write(formats[options.format](table))
    if options.plot is not None:
        comparison.plot(found, keys, options.plot)
