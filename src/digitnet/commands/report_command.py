"""Make a page of runs to look at and to pass on: one HTML file with curves, mistakes, and a pad to draw on.

digitnet report RUN_DIR                        writes report.html into the working directory
digitnet report RUN_DIR --output lenet5.html   there; --force replaces it
digitnet report SWEEP_DIR                      the runs of a sweep or a search: table, curves, and its best network

The page opens in any browser, from a disk, without a network: what it shows is in it, the trained network included. Of
several runs, images and pad are those of the run with the highest validation accuracy.
"""

import argparse
from pathlib import Path

from digitnet.atomic import check_output_file, write_atomically
from digitnet.text import file_size, short_path, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="runs, sweeps, or folders with some in them")
    add("--output", type=Path, default=Path("report.html"), metavar="FILE.html", help="(default: report.html)")
    add("--checkpoint", default="last", metavar="last|best|epoch_N", help="(default: last)")
    add("--force", action="store_true", help="replace the file")
    add("--trust", action="store_true", help="trust the folders: import the network that one names (model=custom)")


def main(options: argparse.Namespace) -> None:
    """Write the page. Raises DigitnetError, OSError."""
    check_output_file("--output", options.output, (".html", ".htm"), options.force)
    from digitnet.experiment.page_content import page_content  # torch
    from digitnet.report.page import render_page

    content = page_content(options.paths, options.checkpoint, options.trust)
    page = render_page(content).encode()
    write_atomically(options.output, page)
    for text in [*content["missing"], *content["left_out"]]:
        show(f"note: {text}", stderr=True)
    show(f"{short_path(options.output.absolute())}: {file_size(len(page))}")
