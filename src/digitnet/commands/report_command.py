"""Make a page of runs to look at and to pass on: one HTML file with curves, mistakes, and a pad to draw on.

digitnet report RUN_DIR                        writes report.html into the working directory
digitnet report RUN_DIR --output lenet5.html   there; --force replaces it
digitnet report RUN_DIR --serve                follows a run or a sweep while it trains, on this machine alone
digitnet report SWEEP_DIR                      the runs of a sweep or a search: table, curves, and its best network

The page opens in any browser, from a disk, without a network: what it shows is in it, the trained network included. Of
several runs, images and pad are those of the run with the highest validation accuracy.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from digitnet.atomic import check_output_file, write_atomically
from digitnet.text import file_size, short_path, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="runs, sweeps, or folders with some in them")
    add("--output", type=Path, default=Path("report.html"), metavar="FILE.html", help="(default: report.html)")
    add("--checkpoint", default="last", metavar="last|best|epoch_N", help="(default: last)")
    add("--serve", action="store_true", help="write no file; serve the page on 127.0.0.1, with new epochs as they come")
    add("--port", type=int, default=0, metavar="N", help="of --serve (default: any that is free)")
    add("--force", action="store_true", help="replace the file")
    add("--trust", action="store_true", help="trust the folders: import the network that one names (model=custom)")


def main(options: argparse.Namespace) -> None:
    """Write the page, or serve it until Ctrl-C. Raises DigitnetError, OSError."""
    if options.serve:
        _serve(options)
        return
    from digitnet.runs.reader import find_runs

    find_runs(options.paths)  # what is wrong with the paths, first
    check_output_file("--output", options.output, (".html", ".htm"), options.force)
    from digitnet.experiment.page_content import page_content  # torch
    from digitnet.report.page import render_page

    content = page_content(options.paths, options.checkpoint, options.trust)
    page = render_page(content).encode()
    write_atomically(options.output, page)
    for text in [*content["missing"], *content["left_out"]]:
        show(f"note: {text}", stderr=True)
    show(f"{short_path(options.output.absolute())}: {file_size(len(page))}")


def _serve(options: argparse.Namespace) -> None:
    from digitnet.experiment.page_content import page_content
    from digitnet.report.page_server import ADDRESS, page_server

    def content(with_details: bool) -> dict[str, Any]:
        return page_content(options.paths, options.checkpoint, options.trust, with_details)

    content(False)  # raises what is wrong with the paths
    with page_server(content, options.port) as server:
        followed = ", ".join(options.paths)
        show(f"http://{ADDRESS}:{server.server_port}/ follows {followed}; Ctrl-C ends it")
        sys.stdout.flush()
        server.serve_forever()
