"""Check that every configuration composes, fits the schema and builds; or only the one given.

Checks the root, every option of every group, every experiment and every value of every sweep, of digitnet's own and of
your config directory (./conf, --config-dir): YAML, defaults, keys, types, ranges, and conflicts between keys. Then it
builds each network on torch's meta device, without memory or arithmetic, runs a forward pass of a batch's shape, and
builds the optimizer and the schedule; your own networks are imported for that. It does not check whether this machine
has the device and supports the precision. All faults are reported, with file and line; the exit code is then 2,
otherwise 0.

  digitnet validate                              everything
  digitnet validate model=lenet5 aug=distort     one composition
  digitnet validate --schema-only                faster, without torch; does not import your networks
  digitnet validate --format github              in a GitHub workflow: annotations on the lines of a pull request
  digitnet validate --format sarif               for code scanning; --format junit: a test for each configuration
"""

import argparse

from digitnet.config.files import ROOT, Tree
from digitnet.errors import ConfigError
from digitnet.report.findings import FORMATS
from digitnet.text import plural, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="GROUP=OPTION or KEY=VALUE: check one composition"
    )
    parser.add_argument("--format", choices=tuple(FORMATS), default="text", help="(default: text)")
    parser.add_argument("--schema-only", action="store_true", help="build nothing, do not import torch")
    parser.add_argument("--config-dir", metavar="FOLDER", help="as for training: your own options")
    parser.add_argument("--config-name", metavar="NAME", default=ROOT, help="use another root file than config.yaml")


def main(options: argparse.Namespace) -> None:
    """Print all findings; raises ConfigError if any is an error."""
    from digitnet.experiment.validation import validate  # imports Hydra, half a second, which --help does not need

    done = validate(Tree.at(options.config_dir, options.config_name), options.overrides, options.schema_only)
    for line in FORMATS[options.format](done.findings, done.compositions):
        show(line)
    if done.errors:
        raise ConfigError(f"{plural(done.errors, 'fault')} in {plural(len(done.compositions), 'configuration')}")
