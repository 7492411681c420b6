"""How much longer an evaluation takes than the forward passes alone: 10,000 images, LeNet-5, in turns in one process.

    python benchmarks/scoring.py --turns 15 --run outputs/results/lenet5/0

The line goes into docs/performance.md.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from digitnet.experiment.evaluation import examined, scored
from digitnet.experiment.trained import open_trained
from digitnet.metrics import predict
from documents import machine, write_section

SCRIPT = "benchmarks/scoring.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--run", type=Path, default=Path("outputs/results/lenet5/0"), help="of LeNet-5 on MNIST")
    options = parser.parse_args()
    with examined([open_trained(options.run)], (), "test") as (subject,):
        images, model = subject.chosen.images, subject.network.model
        scored(subject, subject.logits(images))  # imports SciPy
        ratios = []
        for _ in range(options.turns):
            passes = seconds(lambda: predict(model, images))
            whole = seconds(lambda: scored(subject, subject.logits(images)))
            ratios.append(whole / passes)
    low, middle, high = statistics.quantiles(ratios, n=4)
    text = (
        f"Evaluating {len(images):,} images, with all figures, takes {middle:.2f} ({low:.2f} to {high:.2f}) times as "
        f"long as the forward passes alone; LeNet-5, median (quartiles) of n = {options.turns} turns, {machine()}. "
        f"Remade by `python {SCRIPT}`.\n"
    )
    write_section("docs/performance.md", SCRIPT, text)
    print(text)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
