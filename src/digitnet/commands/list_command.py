"""List runs: status, model, data, epochs, size on disk.

digitnet list                  all runs in and below outputs/
digitnet list SWEEP_DIR        the jobs of a sweep
digitnet list --format csv     sizes in bytes

`digitnet clean` removes what is not needed, `digitnet compare` compares results.
"""

import argparse

from digitnet.commands.compare_command import DEFAULT_PATH
from digitnet.text import file_size, plural, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="a run, a sweep, or a folder that contains runs (default: outputs)")
    add("--format", choices=("table", "csv", "json", "md"), default="table", help="(default: table)")


def main(options: argparse.Namespace) -> None:
    """Print the table and, below it, the sum. Raises ConfigError if there are no runs."""
    from digitnet.report import tables  # --help does not need them
    from digitnet.report.inventory import inventory
    from digitnet.runs.reader import find_runs

    table = inventory(find_runs(options.paths or [DEFAULT_PATH]))
    tables.write_table(table, options.format)
    if options.format == "table":
        show(f"\n{plural(len(table.rows), 'run')}, {file_size(sum(row['size'] for row in table.rows))}")
