"""Export a trained network for other programs: ONNX, safetensors, or PyTorch's own pt2.

digitnet export RUN_DIR --format onnx                writes RUN_DIR's name.onnx into the working directory
digitnet export RUN_DIR --format onnx --softmax      with probabilities instead of logits
digitnet export RUN_DIR --format safetensors --output mine.safetensors

The exported network takes images (B, 1, 28, 28), float32 from 0 (paper) to 1 (ink), in batches of any size. The file is
loaded again, and refused if it computes anything else than PyTorch on the test set. It says what its classes are, how
images are prepared, its accuracy, and what trained it. Needs: pip install 'digitnet[export]' (pt2 does not).
init_from=FILE.safetensors starts a run from it, and digitnet evaluate FILE.safetensors evaluates it.
"""

import argparse
from pathlib import Path

from digitnet.atomic import check_output_file
from digitnet.errors import ConfigError
from digitnet.text import file_size, short_path, show

FORMATS = {"onnx": ".onnx", "safetensors": ".safetensors", "pt2": ".pt2"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_dir", metavar="RUN_DIR", help="the folder of a run")
    add("overrides", nargs="*", metavar="OVERRIDE", help="data=… or data.KEY=…: other images to compare with")
    add("--format", choices=tuple(FORMATS), required=True)
    add("--output", type=Path, metavar="FILE", help="(default: the folder's name, in the working directory)")
    add("--softmax", action="store_true", help="probabilities instead of logits (onnx, pt2)")
    add("--checkpoint", default="last", metavar="last|best|epoch_N", help="(default: last)")
    add("--force", action="store_true", help="replace the file")
    add("--trust", action="store_true", help="trust the folder: import the network that it names (model=custom)")


def main(options: argparse.Namespace) -> None:
    """Write the file, and print how exact it is. Raises DigitnetError, OSError."""
    suffix = FORMATS[options.format]
    output = options.output or Path(Path(options.run_dir).resolve().name + suffix)
    check_output_file("--output", output, (suffix,), options.force)
    if options.softmax and options.format == "safetensors":
        raise ConfigError("--softmax: safetensors holds weights alone, and no computation; leave it out")
    from digitnet.experiment.export import export_network  # torch
    from digitnet.experiment.trained import open_trained

    network = open_trained(options.run_dir, options.checkpoint, options.trust)
    done = export_network(network, options.format, output, options.softmax, options.overrides)
    show(f"{short_path(done.path.absolute())}: {options.format}, {file_size(done.bytes)}")
    show(f"largest difference from PyTorch on {done.n:,} test images: {done.difference:.2g}")
    show(f"test accuracy {100 * done.accuracy:.2f} %")
