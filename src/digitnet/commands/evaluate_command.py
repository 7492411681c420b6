"""Evaluate trained networks: accuracy with its interval, calibration, classes, confusions; on their own data or others.

digitnet evaluate RUN_DIR                          its test set, and the weights of its last epoch
digitnet evaluate RUN_DIR --plot evaluation.png    a picture: reliability, confusions, the hardest images
digitnet evaluate RUN_DIR --checkpoint best --split validation
digitnet evaluate RUN_DIR data=folder data.root=my_digits
digitnet evaluate RUN_DIR --against RUN_DIR        which images only one of them gets right; is that chance?
digitnet evaluate RUN_DIR RUN_DIR                  each alone, and together as an ensemble; so the runs of a SWEEP_DIR
digitnet evaluate RUN_DIR --corruptions            under noise, blur, fog, …, as the images of MNIST-C
digitnet evaluate RUN_DIR --shift                  against translation and rotation
digitnet evaluate RUN_DIR --tta 1                  the mean over nine shifts of each image, by up to a pixel

The interval of the accuracy is Wilson's, 95 %. The calibration error is the expected one, of 15 bins (Guo et al. 2017).
Of MNIST's test set, errors are also given without 15 images whose labels are known to be wrong (Northcutt et al. 2021).
Nothing is written into the folder of a run, which may also be unfinished.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.atomic import check_output_file, write_atomically
from digitnet.errors import ConfigError
from digitnet.text import plural, printable, short_path

if TYPE_CHECKING:  # torch
    from digitnet.experiment.evaluation import RunEvaluation
    from digitnet.experiment.robustness import Change
    from digitnet.experiment.trained import TrainedNetwork

WIDEST_TTA = 4  # pixels: MNIST's digits are that far from the edge
FORMATS = {".txt": "table", ".csv": "csv", ".json": "json", ".md": "md"}  # by the suffix of --output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("words", nargs="+", metavar="RUN_DIR|OVERRIDE", help="runs or sweeps; data=…, data.KEY=… or device=…")
    add("--checkpoint", default="last", metavar="last|best|epoch_N", help="(default: last)")
    add("--split", choices=("test", "validation", "train"), default="test", help="(default: test)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--against", metavar="RUN_DIR", help="compare with this run, image by image")
    how.add_argument("--corruptions", action="store_true", help="evaluate on images corrupted as MNIST-C's")
    how.add_argument("--shift", action="store_true", help="evaluate on images that are translated, and rotated")
    add("--tta", type=int, default=0, metavar="N", help="average over each image shifted by up to N pixels")
    add("--format", choices=("table", "csv", "json", "md"), help="(default: table, or what --output ends in)")
    add("--output", type=Path, metavar="FILE", help="write the text there: .txt, .csv, .json or .md")
    add("--plot", type=Path, metavar="FILE.png", help="draw a picture; .svg and .pdf are possible too")
    add("--force", action="store_true", help="replace the files of --output and --plot")
    add("--trust", action="store_true", help="trust the folders: import the network that one names (model=custom)")


def main(options: argparse.Namespace) -> None:
    """Print the evaluation of each run, or write it to a file. Raises DigitnetError, OSError."""
    overrides = [word for word in options.words if "=" in word and not Path(word).exists()]
    paths = [word for word in options.words if word not in overrides]
    if not paths:
        raise ConfigError("no run to evaluate: give the folder of one; see digitnet evaluate --help")
    if not 0 <= options.tta <= WIDEST_TTA:
        raise ConfigError(f"--tta {options.tta}: is not a number of pixels from 0 to {WIDEST_TTA}")
    _check_files(options)
    from digitnet.experiment.trained import open_trained, run_folders  # torch

    folders = [folder for path in paths for folder in run_folders(path)]
    if options.against and len(folders) > 1:
        raise ConfigError("--against compares one run with another; leave out the other runs")
    networks = [open_trained(folder, options.checkpoint, options.trust) for folder in folders]
    if options.corruptions or options.shift:
        text = _changed(networks, overrides, options)
    elif options.against:
        against = open_trained(options.against, options.checkpoint, options.trust)
        text = _compared(networks[0], against, overrides, options)
    else:
        text = _evaluated(networks, overrides, options)
    if options.output is None:
        sys.stdout.write(printable(text))
    else:
        write_atomically(options.output, printable(text).encode())


def _check_files(options: argparse.Namespace) -> None:
    """Raise ConfigError if what is asked for cannot be written; set the format by the suffix of --output."""
    if options.output is not None:
        check_output_file("--output", options.output, FORMATS, options.force)
        options.format = options.format or FORMATS[options.output.suffix.lower()]
    options.format = options.format or "table"
    if options.plot is not None:
        from digitnet.report.curves import PLOT_SUFFIXES

        check_output_file("--plot", options.plot, PLOT_SUFFIXES, options.force)
    if options.against and options.format in ("csv", "md"):
        raise ConfigError(f"--against is printed as a table or as json, not as {options.format}")


def _evaluated(networks: "list[TrainedNetwork]", overrides: list[str], options: argparse.Namespace) -> str:
    """Each network alone and, if there are several of the same images, together."""
    from digitnet.experiment.evaluation import evaluate_ensemble, evaluate_networks, of_same_images
    from digitnet.report import evaluation_text as text
    from digitnet.report.terminal import terminal_width

    found = evaluate_networks(networks, overrides, options.split, options.tta)
    one, columns = found[0], text.COLUMNS
    rows = [each.row() for each in found]
    if len(found) > 1 and of_same_images(found):
        together = evaluate_ensemble(found)
        one, rows, columns = together.mean, together.rows(), [*text.COLUMNS, *text.ENSEMBLE_COLUMNS]
    if options.plot is not None:
        if len(found) > 1 and one is found[0]:
            raise ConfigError("--plot draws one run, or an ensemble; these runs are of different images")
        _plot(one, len(found), options)
    if options.format == "json":
        details = [each.details() for each in found] + [{}] * (len(rows) - len(found))
        rows = [row | more for row, more in zip(rows, details, strict=True)]
        columns = [*columns, "classes", "confusions"]
    if options.format != "table":
        return text.formatted(rows, columns, options.format)
    if len(found) == 1:
        return "\n".join(_about(one)) + "\n"
    about = f"{one.split} set of {one.data}, {plural(one.score.n, 'image')}{_shifts(one.tta)}"
    lines = [about] if one is not found[0] else []
    lines += text.score_lines_of_several(rows, None if options.output else terminal_width())
    return "\n".join([*lines, *(text.help_lines(rows) if one is not found[0] else [])]) + "\n"


def _shifts(tta: int) -> str:
    return f", mean over {(2 * tta + 1) ** 2} shifts by up to {plural(tta, 'pixel')}" if tta else ""


def _about(one: "RunEvaluation") -> list[str]:
    from digitnet.report import evaluation_text as text
    from digitnet.report.terminal import terminal_width

    return [
        f"{short_path(one.folder)}: {one.model} after epoch {one.epoch}, {one.split} set of {one.data}"
        f"{_shifts(one.tta)}",
        "",
        *text.score_lines(one.score, one.interval, one.calibration_error, one.brier_score, one.without_wrong_labels),
        "",
        *text.class_lines(one.classes, terminal_width()),
        "",
        text.confusion_line(one.confusions),
    ]


def _plot(one: "RunEvaluation", networks: int, options: argparse.Namespace) -> None:
    from digitnet.report.evaluation_plot import draw_evaluation  # matplotlib takes half a second
    from digitnet.scores import reliability

    who = f"{one.model} after epoch {one.epoch}" if networks == 1 else f"the mean of {networks} networks"
    title = f"{who} on the {one.split} set of {one.data}: accuracy {100 * one.score.accuracy:.2f} %"
    confidence = one.probabilities.max(1).values
    names = [score.name for score in one.classes]
    bins = reliability(one.probabilities, one.labels)
    draw_evaluation(
        options.plot, one.images, one.labels, one.predicted, confidence, bins, names, title, one.wrong_labels
    )


def _compared(
    network: "TrainedNetwork", against: "TrainedNetwork", overrides: list[str], options: argparse.Namespace
) -> str:
    from digitnet.experiment.evaluation import compare_runs, evaluate_networks
    from digitnet.report import evaluation_text as text

    one, other = evaluate_networks([network, against], overrides, options.split, options.tta)
    compared = compare_runs(one, other)
    if options.plot is not None:
        _plot(one, 1, options)
    if options.format == "json":
        return text.comparison_json(compared, one.score.n, one.folder, other.folder)
    return "\n".join([*_about(one), "", *text.comparison_lines(compared, one.score.n, other.folder)]) + "\n"


def _changed(networks: "list[TrainedNetwork]", overrides: list[str], options: argparse.Namespace) -> str:
    """Under corruptions, or against translation and rotation."""
    from digitnet.experiment import robustness
    from digitnet.report import evaluation_text as text
    from digitnet.report.terminal import terminal_width, working

    kinds = robustness.CORRUPTION_CHANGES if options.corruptions else robustness.SHIFT_CHANGES
    with working("change", len(kinds)) as step:
        changes = robustness.evaluate_changes(networks, overrides, options.split, kinds, step, options.tta)
    names = [str(short_path(network.path)) for network in networks]
    if options.plot is not None:
        _plot_changes(changes, names, options)
    if options.format != "table":
        rows = [row for change in changes for row in change.rows(networks)]
        return text.formatted(rows, text.CHANGE_COLUMNS, options.format)
    width = None if options.output else terminal_width()
    scores = [(change.kind, change.amount, change.scores) for change in changes]
    lines = text.change_lines(scores, names, width)
    if options.corruptions:
        errors = ", ".join(text.percent(error) for error in robustness.mean_corruption_error(changes))
        lines.append(f"mean corruption error: {errors}")
    return "\n".join(lines) + "\n"


def _plot_changes(changes: "list[Change]", names: list[str], options: argparse.Namespace) -> None:
    from digitnet.report import evaluation_plot as plot  # matplotlib takes half a second

    fractions = [[score.accuracy for score in change.scores] for change in changes]
    if options.corruptions:
        samples = [(change.kind, change.samples) for change in changes]
        who = names[0] if len(names) == 1 else f"{len(names)} networks (mean)"
        plot.draw_corruptions(options.plot, samples, fractions, f"Accuracy of {who} under corruptions")
        return
    curves = []
    for kind, label in (("translation", "pixels to the right"), ("rotation", "degrees, counter-clockwise")):
        chosen = [(change.amount, some) for change, some in zip(changes, fractions, strict=True) if change.kind == kind]
        curves.append((kind.capitalize(), label, [amount for amount, _ in chosen], [some for _, some in chosen]))
    plot.draw_shifts(options.plot, curves, names)
