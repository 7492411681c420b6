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

from digitnet import compare
from digitnet.display import show_table, shown
from digitnet.errors import ConfigError
from digitnet.records import read_metrics

FORMATS = {"csv": compare.as_csv, "json": compare.as_json, "md": compare.as_markdown}
ENDINGS = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="the folder of a run or a sweep, or one with such in it")
    add("--group-by", default="", metavar="KEYS", help="a row for each of their values, KEY or KEY,KEY")
    add("--where", action="append", default=[], metavar="KEY=VALUE", help="only these runs; also !=, <, <=, >, >=")
    add("--sort", metavar="KEY", help="the lowest first, --sort=-KEY the highest (default: -val_acc)")
    add("--format", choices=("table", *FORMATS), default="table", help="(default: table)")
    add("--plot", type=Path, metavar="FILE.png", help="draw curves, and accuracy against what was swept; or svg, pdf")


def main(options: argparse.Namespace) -> None:
    """Print the table, draw the picture. Raises ConfigError for what is not there, OSError for a full disk."""
    if options.plot is not None and options.plot.suffix not in ENDINGS:
        raise ConfigError(f"--plot {options.plot}: ends in none of {', '.join(ENDINGS)}")
    if options.plot is not None and not options.plot.absolute().parent.is_dir():
        raise ConfigError(f"--plot {options.plot}: the folder {options.plot.parent} is not there; make it first")
    runs = compare.where(compare.find(options.paths), options.where)
    keys = [key for key in options.group_by.split(",") if key]
    table = compare.tabulate(runs, keys, options.sort)
    if options.format == "table":
        show(table)
    else:
        sys.stdout.write(FORMATS[options.format](table))
    if options.plot is not None:
        plot(table, keys, options.plot)


def show(table: compare.Table) -> None:
    """On the terminal, or into a pipe, with the reasons of what failed below it."""
    headings, cells, dispensable = compare.in_print(table)
    above = compare.common_folder(table)
    show_table(headings, cells, dispensable, f"{shown(above)}:" if above is not None else "")
    if failures := compare.failures(table):
        print("\n" + "\n".join(failures))


def plot(table: compare.Table, keys: list[str], path: Path) -> None:
    """Draw it. Raises OSError."""
    from digitnet.pictures import Curve, draw_comparison

    everything = [run for part in table.runs for run in part]
    settings = [compare.key_of(key, everything) for key in keys] or compare.differing(everything)
    numeric = [key for key in settings if key != "seed" and compare.is_numeric(key, everything)]
    swept = numeric[0] if numeric else None
    measure = (
        "test_acc" if all("test_acc" in run.metrics for run in everything if run.status == "finished") else "val_acc"
    )
    others = [key for key in settings if key not in ("seed", swept)]
    curves = []
    for part in table.runs:
        label = _words(part[0], settings)
        done = [run for run in part if run.status == "finished"]
        at = part[0].get(swept) if swept else None
        final = [run.metrics[measure] for run in done if measure in run.metrics]
        runs = [_accuracies(run.folder) for run in part]
        curves.append(Curve(label or part[0].folder.name, runs, final, at, _words(part[0], others)))
    draw_comparison(path, curves, swept, "Test error" if measure == "test_acc" else "Validation error")


def _words(run: compare.Run, keys: list[str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {compare.in_words(run.get(key))}" for key in keys)


def _accuracies(folder: Path) -> list[float]:
    """Of each epoch; none where they cannot be read."""
    try:
        return [record.val_acc for record in read_metrics(folder / "metrics.csv")]
    except (OSError, ValueError, KeyError, TypeError):
        return []
