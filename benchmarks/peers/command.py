"""digitnet as a user runs it: the command line with all that it logs and saves after an epoch, and then a pause.

python benchmarks/peers/command.py FOLDER OVERRIDE…
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pace import Pace, load_idx

from digitnet import cli


def main(folder: str, *overrides: str) -> None:
    pace = Pace()
    import torch

    from digitnet.data import Dataset, Split
    from digitnet.experiment import build, run
    from digitnet.training.loop import fit

    def paced(*arguments: Any, **options: Any) -> Iterator[Any]:
        pace.begin()
        for record in fit(*arguments, **options):
            yield record
            pace.begin()

    def load(part: str) -> Split:
        images, labels = load_idx(Path(folder), part)
        return Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())

    def dataset(*_: Any) -> Dataset:  # the files are no archives with MNIST's checksums
        test = load("t10k")
        return Dataset("mnist", load("train"), test, test, tuple("0123456789"), "the benchmark's files")

    for module, name, replacement in ((run, "fit", paced), (build, "load_idx", dataset)):
        setattr(module, name, replacement)
    run_dir = f"hydra.run.dir={folder}/run-{os.getpid()}"
    sys.exit(cli.main(["data=mnist", f"device={os.environ['DEVICE']}", "trainer.epochs=100000", run_dir, *overrides]))


if __name__ == "__main__":
    main(*sys.argv[1:])
