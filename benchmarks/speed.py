"""digitnet as people run it against a bare PyTorch loop, on MNIST-shaped data, alternating, each in its own process.

    python benchmarks/speed.py --rounds 3

The bare loop keeps float32 images in memory and does what every tutorial does: permute, index, forward, backward,
step; it measures nothing while training and evaluates after each epoch. The data are the embedded digits enlarged to
60,000. Figures are ratios within one call; on a shared machine absolute times say little.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EPOCHS = 3  # the first is not counted
IMAGES = 60_000


def bare(threads: int) -> list[float]:
    """Seconds of each epoch's training."""
    import torch
    import torch.nn.functional as F

    from digitnet.data import load_digits
    from digitnet.models import LeNet5

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    digits = load_digits(IMAGES)
    images, labels = digits.train.images.float() / 255, digits.train.labels
    test_images = digits.test.images.float() / 255
    model = LeNet5()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        model.train()
        for batch in torch.randperm(IMAGES).split(32):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
        model.eval()
        with torch.no_grad():
            model(test_images).argmax(1).eq(digits.test.labels).sum().item()
    return seconds


def measure(variant: str, threads: int) -> tuple[list[float], float]:
    """Seconds of the training epochs but the first, and the peak memory (MB), of one run in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        if variant == "bare loop":
            command = [sys.executable, __file__, "--bare", "--threads", str(threads)]
        else:
            options = f"data=digits data.enlarge_to={IMAGES} trainer.epochs={EPOCHS} logger=metrics".split()
            aug = ["aug=distort", "aug.warmup_epochs=0"] if variant == "digitnet, distorting" else []
            folder = [f"trainer.threads={threads}", f"hydra.run.dir={scratch}/run"]
            command = [sys.executable, "-m", "digitnet", *options, *aug, *folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status:
            raise SystemExit(f"{variant} failed")
        if variant == "bare loop":
            seconds = json.loads(output)
        else:
            from digitnet.records import read_metrics

            seconds = [IMAGES / record.images_per_second for record in read_metrics(Path(scratch, "run/metrics.csv"))]
    return seconds[1:], usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(bare(options.threads)))
        return
    variants = ["bare loop", "digitnet", "digitnet, distorting"]
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    memory: dict[str, list[float]] = {variant: [] for variant in variants}
    for number in range(options.rounds):
        for variant in variants if number % 2 == 0 else variants[::-1]:
            epochs, peak = measure(variant, options.threads)
            seconds[variant] += epochs
            memory[variant].append(peak)
    print(f"{options.threads} thread(s), {options.rounds} rounds of {EPOCHS - 1} counted epochs of {IMAGES:,} images")
    print()
    print("| | s an epoch: median (fastest to slowest) | ratio of medians | ratio of fastest | peak memory |")
    print("|---|---|---|---|---|")
    base = seconds["bare loop"]
    for variant in variants:
        times = seconds[variant]
        print(
            f"| {variant} | {statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f}) "
            f"| {statistics.median(times) / statistics.median(base):.2f} | {min(times) / min(base):.2f} "
            f"| {statistics.median(memory[variant]):.0f} MB |"
        )


if __name__ == "__main__":
    main()
