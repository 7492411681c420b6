"""Say which digit is on your own pictures: drawings, scans, photos.

digitnet predict RUN_DIR photo.jpg drawings/       files, and all images in a folder
digitnet predict RUN_DIR - < photo.jpg             one from standard input
digitnet predict RUN_DIR page.jpg --split          every digit on it, from left to right
digitnet predict RUN_DIR photo.jpg --sheet seen.png   draw what the network saw

A picture may be of any size, dark ink on paper or chalk on a board, with shadows. The digit on it is found, cropped and
centred, as the images of MNIST were made. RUN_DIR may also be a sweep's folder: its networks predict together, by the
mean of their probabilities. Nothing is written into the folder of a run.
"""

import argparse
import sys
from pathlib import Path

from digitnet.atomic import check_output_file
from digitnet.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_dir", metavar="RUN_DIR", help="the folder of a run or of a sweep")
    add("images", nargs="*", metavar="IMAGE", help="files, folders, or - for standard input")
    add("--split", action="store_true", help="predict every digit on a picture, from left to right")
    add("--ink", choices=("auto", "dark", "light"), help="what the digits are drawn with (default: found out)")
    add(
        "--prepare",
        choices=("mnist", "plain"),
        help="find the digit, or take the whole picture (default: as in training)",
    )
    add("--checkpoint", default="last", metavar="last|best|epoch_N", help="(default: last)")
    add("--format", choices=("table", "csv", "json"), default="table", help="(default: table)")
    add("--sheet", type=Path, metavar="FILE.png", help="draw what the network saw; .svg and .pdf are possible too")
    add("--force", action="store_true", help="replace the file of --sheet")
    add("--trust", action="store_true", help="trust the folder: import the network that it names (model=custom)")


def main(options: argparse.Namespace) -> None:
    """Print the prediction for each picture. Raises DigitnetError; bad pictures are named after all others are read."""
    if not options.images:
        raise ConfigError("no image: give files, a folder, or - for standard input; see digitnet predict --help")
    if options.images.count("-") > 1:
        raise ConfigError("- is given twice, and there is one standard input")
    from digitnet.report.curves import PLOT_SUFFIXES

    if options.sheet is not None:
        check_output_file("--sheet", options.sheet, PLOT_SUFFIXES, options.force)
    from digitnet.experiment import prediction as predicting  # torch
    from digitnet.experiment.trained import check_same_classes, open_trained, run_folders
    from digitnet.report.prediction_text import show_predictions
    from digitnet.report.terminal import working

    files = predicting.picture_files(options.images)
    folders = run_folders(options.run_dir)
    networks = [open_trained(folder, options.checkpoint, options.trust) for folder in folders]
    check_same_classes(networks)
    found, bad = list[predicting.PicturePrediction](), list[str]()
    with working("image", len(files)) as step:
        for name, content in predicting.read_pictures(files, bad, sys.stdin.buffer):
            step()
            try:
                found += predicting.predict_picture(
                    networks, name, content, options.prepare, options.ink, options.split
                )
            except ValueError as error:
                bad.append(f"{name}: {error}")
    show_predictions([vars(one) for one in found], options.format, options.split)
    if options.sheet is not None and found:
        from digitnet.report.plots import draw_predictions  # matplotlib takes half a second

        texts = [f"{one.predicted} ({100 * one.confidence:.0f} %)" for one in found]
        names = [Path(one.file).name for one in found]
        draw_predictions(options.sheet, [one.image for one in found], texts, names)
    predicting.refuse_bad(bad, len(files))
