"""Check that every configuration composes, fits the schema and builds; or only the one given.

Checks the root, every option of every group, every experiment and every value of every sweep, of digitnet's own and of
your config directory (./conf, --config-dir): YAML, defaults, keys, types, ranges, and what must fit together. Then it
builds each network without memory or arithmetic (on torch's meta device), passes the shape of a batch through it, and
builds its optimizer and its schedule; networks of your own are imported for that. Whether this machine has
the device and its precision is left to the run. Exit code 0, or 2 if anything is wrong: everything is reported, with
file and line.

  digitnet validate                              everything
  digitnet validate model=lenet5 aug=distort     one composition
  digitnet validate --schema-only                without torch, in less time; imports no network of yours
  digitnet validate --format github              in a GitHub workflow: annotations on the lines of a pull request
"""

import argparse

from digitnet.config.files import ROOT, Tree
from digitnet.errors import ConfigError
from digitnet.report.findings import FORMATS
from digitnet.text import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="GROUP=OPTION or KEY=VALUE: check one composition"
    )
    parser.add_argument("--format", choices=tuple(FORMATS), default="text", help="(default: text)")
    parser.add_argument("--schema-only", action="store_true", help="build nothing, import no torch")
    parser.add_argument(
        "--config-dir", metavar="FOLDER", help="as for training: options of your own, before those in ./conf"
    )
    parser.add_argument("--config-name", metavar="NAME", default=ROOT, help="another file than config.yaml as the root")


def main(options: argparse.Namespace) -> None:
    """Print what is wrong; raises ConfigError if anything is."""
    from digitnet.experiment.validation import validate  # Hydra's half a second, which --help does not wait for

    done = validate(Tree.at(options.config_dir, options.config_name), options.overrides, options.schema_only)
    for line in FORMATS[options.format](done.findings, done.checked):
        print(line)
    if done.errors:
        raise ConfigError(f"{plural(done.errors, 'fault')} in {plural(done.checked, 'configuration')}")
