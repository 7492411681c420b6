"""Evaluate trained networks: accuracy with its interval, calibration, classes, confusions; on their own data or others.

digitnet evaluate RUN_DIR                          its test set, and the weights of its last epoch
digitnet evaluate RUN_DIR RUN_DIR --format csv     a row for each
digitnet evaluate RUN_DIR --checkpoint best --split validation
digitnet evaluate RUN_DIR data=folder data.root=my_digits
digitnet evaluate RUN_DIR --against RUN_DIR        which images only one of them gets right; is that chance?

The interval of the accuracy is Wilson's, 95 %. The calibration error is the expected one, of 15 bins (Guo et al. 2017).
Of MNIST's test set, errors are also given without 15 images whose labels are known to be wrong (Northcutt et al. 2021).
Nothing is written into the folder of a run, which may also be unfinished.
"""

import argparse
from pathlib import Path

from digitnet.errors import ConfigError
from digitnet.text import short_path, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("words", nargs="+", metavar="RUN_DIR|OVERRIDE", help="folders of runs; data=…, data.KEY=… or device=…")
    add("--checkpoint", default="last", metavar="last|best|epoch_N", help="(default: last)")
    add("--split", choices=("test", "validation", "train"), default="test", help="(default: test)")
    add("--against", metavar="RUN_DIR", help="compare with this run, image by image")
    add("--format", choices=("table", "csv", "json", "md"), default="table", help="(default: table)")
    add("--trust", action="store_true", help="trust the folders: import the network that one names (model=custom)")


def main(options: argparse.Namespace) -> None:
    """Print the evaluation of each run. Raises DigitnetError."""
    overrides = [word for word in options.words if "=" in word and not Path(word).exists()]
    folders = [word for word in options.words if word not in overrides]
    if not folders:
        raise ConfigError("no run to evaluate: give the folder of one; see digitnet evaluate --help")
    if options.against and (len(folders) > 1 or options.format != "table"):
        raise ConfigError("--against compares one run with another, and prints text; leave out --format and other runs")
    from digitnet.experiment.evaluation import compare_runs, evaluate_run  # torch
    from digitnet.report import evaluation_text as text
    from digitnet.report.tables import write_table
    from digitnet.report.terminal import terminal_width
    from digitnet.runs.folder import RunFolder

    opened = [RunFolder.open(folder, options.trust) for folder in [*folders, *filter(None, [options.against])]]
    found = [evaluate_run(folder, overrides, options.checkpoint, options.split) for folder in opened]
    if len(folders) > 1 or options.format != "table":
        write_table(text.score_table([one.row() for one in found]), options.format)
        return
    one = found[0]
    show(f"{short_path(one.folder)}: {one.model} after epoch {one.epoch}, {one.split} set of {one.data}\n")
    for line in text.score_lines(
        one.score, one.interval, one.calibration_error, one.brier_score, one.without_wrong_labels
    ):
        show(line)
    show("")
    for line in text.class_lines(one.classes, terminal_width()):
        show(line)
    show(f"\n{text.confusion_line(one.confusions)}")
    if options.against:
        other = found[1]
        show("")
        for line in text.comparison_lines(compare_runs(one, other), one.score.n, other.folder):
            show(line)
