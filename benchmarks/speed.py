"""digitnet's trainer against a bare PyTorch loop on MNIST-shaped data, each in its own process, taking turns.

    python benchmarks/speed.py --turns 40

The bare loop keeps float32 images in memory and does what every tutorial does: permute, index, forward, backward,
step; it measures nothing. digitnet's is `fit`, which every run uses. A turn is a quarter of an epoch of 60,000 images
(the embedded digits, enlarged), so that what else the machine does strikes all alike; a ratio is the median over turns
of the time against the bare loop's in the same turn. The table goes into README.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from readme import machine, write_section

IMAGES, TURN = 60_000, 15_000
VARIANTS = ["bare loop", "digitnet", "digitnet, distorting"]


def serve(variant: str, threads: int) -> None:
    """Train a turn for every line of standard input, and answer with its seconds."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    turns = bare() if variant == "bare loop" else digitnet(distorting=variant.endswith("distorting"))
    for _ in sys.stdin:
        print(next(turns), flush=True)


def bare() -> Iterator[float]:
    import torch
    import torch.nn.functional as F

    from digitnet.data import load_digits
    from digitnet.models import LeNet5

    digits = load_digits(IMAGES)
    images, labels = digits.train.images.float() / 255, digits.train.labels
    model = LeNet5()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    while True:
        start = time.perf_counter()
        for batch in torch.randperm(IMAGES)[:TURN].split(32):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield time.perf_counter() - start


def digitnet(distorting: bool) -> Iterator[float]:
    import torch

    from digitnet import optim
    from digitnet.augment import distort
    from digitnet.checkpoint import TrainState
    from digitnet.data import load_digits
    from digitnet.models import LeNet5
    from digitnet.trainer import fit

    digits = load_digits(IMAGES)
    generator = torch.Generator().manual_seed(0)
    model = LeNet5()
    state = TrainState(model, torch.optim.SGD(model.parameters(), lr=1.0), generator)
    augment: Callable[[torch.Tensor], torch.Tensor] = partial(
        distort, rotation_deg=25.0, shift=0.1, generator=generator
    )
    records = fit(
        state,
        digits.train[:TURN],
        digits.test,
        epochs=1_000_000,
        batch_size=32,
        lr=1.0,
        schedule=partial(optim.step, phases=[(2, 1.0), (3, 0.8), (3, 0.4), (4, 0.2), (8, 0.08)]),
        augment=augment if distorting else None,
    )
    for record in records:
        yield TURN / record.images_per_second


def measure(turns: int, threads: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each variant's turns but the first, and the peak memory of its process (MB)."""
    servers = {
        variant: subprocess.Popen(
            [sys.executable, __file__, "--serve", variant, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for variant in VARIANTS
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for turn in range(turns + 1):
        for variant in VARIANTS if turn % 2 == 0 else VARIANTS[::-1]:
            server = servers[variant]
            assert server.stdin is not None
            assert server.stdout is not None
            print("go", file=server.stdin, flush=True)
            seconds[variant].append(float(server.stdout.readline()))
    memory = {}
    for variant, server in servers.items():
        assert server.stdin is not None
        server.stdin.close()
        _, server.returncode, usage = os.wait4(server.pid, 0)
        memory[variant] = usage.ru_maxrss / 1024
    return {variant: times[1:] for variant, times in seconds.items()}, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--serve", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.threads)
        return
    seconds, memory = measure(options.turns, options.threads)
    lines = ["| | s an epoch, median | ratio, median (quartiles) | peak memory |", "|---|---|---|---|"]
    for variant in VARIANTS:
        ratios = [mine / base for mine, base in zip(seconds[variant], seconds["bare loop"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        lines.append(
            f"| {variant} | {statistics.median(seconds[variant]) * IMAGES / TURN:.2f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) | {memory[variant]:.0f} MB |"
        )
    lines += [
        "",
        f"LeNet-5, batches of 32, {IMAGES:,} images an epoch; n = {options.turns} turns of {TURN:,} images each; "
        f"{machine()}, {options.threads} thread(s). Remade by `python benchmarks/speed.py --turns {options.turns}`.",
    ]
    table = "\n".join(lines) + "\n"
    print(table)
    write_section("benchmarks/speed.py", table)


if __name__ == "__main__":
    main()
