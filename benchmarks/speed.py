"""digitnet compared with what one would use instead, on MNIST-shaped data, each in a process of its own, taking turns.

    python benchmarks/speed.py           # all tables, into docs/performance.md, and docs/speed.png: 15 minutes
    python benchmarks/speed.py --gpu     # LeNet-5 recorded, eager and bare, and all-conv, on CUDA; prints its table
    python benchmarks/speed.py --short   # only ratios, of what is installed: a minute

A turn is an epoch of LeNet-5 (batches of 32, fp32, the same layers, SGD) and the validation after it, so that other
load on the machine slows all of them alike; a ratio is the median over turns of digitnet's time against the peer's in
the same turn. Each peer is a file in benchmarks/peers/, written as its own users write it; all but digitnet and the
bare loops need `pip install 'digitnet[benchmark]'`. The images are the embedded digits, enlarged.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from digitnet.runs.formats import read_metrics
from documents import CHECKOUT, machine, write_section

PEERS = Path(__file__).parent / "peers"
IMAGES, TEST_IMAGES = 60_000, 10_000
COLUMNS = ["s an epoch, median (quartiles)", "images a second", "digitnet takes (quartiles)", "start-up", "peak memory"]


@dataclass(frozen=True)
class Peer:
    name: str
    command: tuple[str, ...]  # a file in peers/ and its arguments after the folder of the data
    needs: tuple[str, ...] = ()  # packages in addition to digitnet's own


@dataclass(frozen=True)
class Timing:
    """Of one peer: seconds of each turn; seconds of start-up, with the excess of the first turn; peak memory in MB."""

    seconds: list[float]
    start: float
    memory: float


DIGITNET = Peer("digitnet", ("command.py", "experiment=lenet5"))
LENET5 = [
    DIGITNET,
    Peer("bare PyTorch loop, tensors in memory", ("bare.py", "lenet5", "32")),
    Peer("Keras 3 on JAX", ("keras_jax.py",), ("keras", "jax")),
    Peer("PyTorch script with a DataLoader", ("dataloader.py",)),
    Peer("Lightning and torchmetrics", ("lightning_module.py",), ("lightning", "torchmetrics")),
]
DISTORTING = [
    DIGITNET,
    Peer("digitnet, distorting", ("command.py", "experiment=lenet5", "aug=distort", "aug.warmup_epochs=0")),
]
ALLCONV = [
    Peer("bare loop", ("bare.py", "allconv", "128")),
    Peer("digitnet", ("command.py", "experiment=allconv")),
    Peer("digitnet, `trainer.precision=bf16`", ("command.py", "experiment=allconv", "trainer.precision=bf16")),
]
ON_GPU = [
    Peer("bare PyTorch loop, tensors on the GPU", ("bare.py", "lenet5", "32")),
    Peer("digitnet, eager", ("command.py", "experiment=lenet5", "trainer.cuda_graph=false")),
    DIGITNET,
    Peer("all-conv, distorting", ("command.py", "experiment=allconv", "aug=distort", "aug.warmup_epochs=0")),
]
VALIDATION = [Peer("bare loop", ("validation.py", "bare")), Peer("digitnet", ("validation.py", "digitnet"))]


def write_data(folder: Path, images: int, test_images: int) -> None:
    """In a process of its own: what this one had in memory would count as its children's peak."""
    subprocess.run([sys.executable, str(PEERS / "data.py"), str(folder), str(images), str(test_images)], check=True)


def measure(peers: Sequence[Peer], turns: int, folder: Path, device: str = "cpu") -> dict[Peer, Timing]:
    """Let the peers take turns; the first of each, in which some compile, counts as start-up."""
    servers, ready = {}, {}
    for peer in peers:  # one after the other, so that no start-up slows another
        script, *arguments = peer.command
        start = time.perf_counter()
        servers[peer] = subprocess.Popen(
            [sys.executable, str(PEERS / script), str(folder), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"DEVICE": device},
            text=True,
        )
        answer(servers[peer], peer)
        ready[peer] = time.perf_counter() - start
    seconds: dict[Peer, list[float]] = {peer: [] for peer in peers}
    for turn in range(turns + 1):
        for peer in peers if turn % 2 == 0 else peers[::-1]:
            start = time.perf_counter()
            print("go", file=servers[peer].stdin, flush=True)
            answer(servers[peer], peer)
            seconds[peer].append(time.perf_counter() - start)
    timings = {}
    for peer, server in servers.items():
        assert server.stdin is not None
        server.stdin.close()
        _, server.returncode, usage = os.wait4(server.pid, 0)
        first, *rest = seconds[peer]
        timings[peer] = Timing(rest, ready[peer] + max(0.0, first - statistics.median(rest)), usage.ru_maxrss / 1024)
    return timings


def answer(server: "subprocess.Popen[str]", peer: Peer) -> None:
    assert server.stdout is not None
    if (line := server.stdout.readline()) != "ready\n":
        server.kill()
        raise SystemExit(f"{peer.name}: printed {line!r} instead of 'ready'; its other output is above")


def quartiles(values: Iterable[float], digits: int = 2) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ratios(mine: Timing, other: Timing) -> list[float]:
    return [ours / theirs for ours, theirs in zip(mine.seconds, other.seconds, strict=True)]


def peers_table(timings: dict[Peer, Timing]) -> list[str]:
    rows = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for peer, timing in timings.items():
        against = "–" if peer is DIGITNET else f"{quartiles(ratios(timings[DIGITNET], timing))} x"
        rows.append(
            f"| {peer.name} | {quartiles(timing.seconds)} | {IMAGES / statistics.median(timing.seconds):,.0f} "
            f"| {against} | {timing.start:.1f} s | {timing.memory:,.0f} MB |"
        )
    return rows


def parts_table(parts: Sequence[tuple[str, dict[Peer, Timing]]], scales: Sequence[float]) -> list[str]:
    rows = ["| | s, median (quartiles) | against the first | peak memory |", "|---|---|---|---|"]
    for (what, timings), scale in zip(parts, scales, strict=True):
        first = next(iter(timings.values()))
        for peer, timing in timings.items():
            against = "–" if timing is first else f"{quartiles(ratios(timing, first))} x"
            seconds = quartiles(second * scale for second in timing.seconds)
            rows.append(f"| {what}: {peer.name} | {seconds} | {against} | {timing.memory:,.0f} MB |")
    return rows


def scaling_table(turns: int, folder: Path) -> list[str]:
    """Whole runs of the command, an epoch each, with 1, 4 and 16 times the images and batches of 32 to 4,096."""
    grid = [(scale * IMAGES, 32) for scale in (1, 4, 16)] + [(IMAGES, size) for size in (128, 512, 1024, 2048, 4096)]
    found: dict[tuple[int, int], list[tuple[float, float]]] = {cell: [] for cell in grid}
    for turn in range(turns):
        for images, batch_size in grid:
            run_dir = folder / f"scaling-{turn}-{images}-{batch_size}"
            overrides = [f"data.enlarge_to={images}", f"trainer.batch_size={batch_size}", "optimizer.lr=0.1"]
            fixed = ["data=digits", "device=cpu", "trainer.epochs=1", "logger=metrics"]
            command = [sys.executable, "-m", "digitnet", *fixed, *overrides, f"hydra.run.dir={run_dir}"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
            (record,) = read_metrics(run_dir / "metrics.csv")
            found[images, batch_size].append((images / record.images_per_second, usage.ru_maxrss / 1024))
    rows = [
        "| images | batches of | s an epoch, median (slowest) | µs an image | peak memory | beyond the data |",
        "|---|---|---|---|---|---|",
    ]
    for (images, batch_size), runs in found.items():
        seconds, memory = [run[0] for run in runs], statistics.median(run[1] for run in runs)
        data = images * (28 * 28 + 8) / 2**20
        rows.append(
            f"| {images:,} | {batch_size:,} | {statistics.median(seconds):.2f} ({max(seconds):.2f}) "
            f"| {statistics.median(seconds) / images * 1e6:.1f} | {memory:,.0f} MB | {memory - data:,.0f} MB |"
        )
    return rows


def draw(path: Path, timings: dict[Peer, Timing], note: str) -> None:
    """A bar a peer: its median, with the quartiles as whiskers."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 2.9), layout="constrained")
    for row, (peer, timing) in enumerate(timings.items()):
        low, middle, high = statistics.quantiles(timing.seconds, n=4)
        axes.barh(row, middle, color="#1f77b4" if peer is DIGITNET else "#b8b8b8", height=0.65)
        axes.errorbar(middle, row, xerr=[[middle - low], [high - middle]], color="#333333", capsize=3)
        axes.annotate(f"{middle:.1f} s", (high, row), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(timings)), [peer.name for peer in timings])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"seconds an epoch, LeNet-5, batches of 32\n{note}", fontsize=9)
    figure.savefig(path, dpi=110)


def show_gpu(turns: int, folder: Path) -> None:
    """Print the table for CUDA."""
    write_data(folder, IMAGES, TEST_IMAGES)
    timings = measure(ON_GPU, turns, folder, "cuda")
    import torch

    print("\n".join(parts_table([("an epoch", timings)], [1])))
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}; n = {turns} turns")


def show_ratios(turns: int, folder: Path, missing: Sequence[str]) -> None:
    """Print ratios only, for a fifth of the images and the peers that are installed."""
    write_data(folder, IMAGES // 5, TEST_IMAGES // 5)
    peers = [peer for peer in LENET5 if not set(peer.needs) & set(missing)]
    timings = measure([*peers, DISTORTING[1]], turns, folder)
    for peer in peers[1:]:
        print(f"digitnet takes {quartiles(ratios(timings[DIGITNET], timings[peer]))} x the time of: {peer.name}")
    distorting = quartiles(ratios(timings[DISTORTING[1]], timings[DIGITNET]))
    print(f"digitnet, distorting, takes {distorting} x the time without")
    skipped = f"; not installed: {', '.join(missing)}" if missing else ""
    print(f"median (quartiles) of {turns} turns; {machine()}{skipped}")


def write_all(turns: int, folder: Path) -> None:
    """All tables, into docs/performance.md, and the chart."""
    write_data(folder, IMAGES, TEST_IMAGES)  # from here on the disk's cache holds PyTorch
    write_data(folder / "sixth", IMAGES // 6, TEST_IMAGES // 6)
    versions = ", ".join(f"{package} {version(package)}" for package in ("lightning", "keras", "jax"))
    timings = measure(LENET5, turns, folder)
    parts = [
        ("LeNet-5, an epoch", measure(DISTORTING, turns * 2, folder)),
        ("validation, 10,000 images", measure(VALIDATION, turns * 2, folder)),
        ("all-conv, an epoch", measure(ALLCONV, turns, folder / "sixth")),
    ]
    scaling_turns = max(3, turns // 3)
    scaling = scaling_table(scaling_turns, folder)
    note = f"{machine()}, {versions}"
    draw(CHECKOUT / "docs" / "speed.png", timings, f"{note}; n = {turns}")
    lines = [
        *peers_table(timings),
        "",
        *parts_table(parts, (1, 0.1, 6)),
        "",
        *scaling,
        "",
        f"{note}, each with the threads that it takes by default; {IMAGES:,} training and {TEST_IMAGES:,} validation "
        f"images (all-conv: a sixth, its seconds are times six); n = {turns} turns, {turns * 2} for "
        f"distortions and validation, {scaling_turns} for the last table. "
        f"Remade by `python benchmarks/speed.py --turns {turns}`.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    write_section("docs/performance.md", "benchmarks/speed.py", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9, help="of the peers; the other tables have theirs in proportion")
    parser.add_argument("--gpu", action="store_true", help="what runs on CUDA")
    parser.add_argument("--short", action="store_true", help="only ratios: a fifth of the images, what is installed")
    options = parser.parse_args()
    if options.turns < 2:
        parser.error("--turns: a spread takes two at least")
    missing = sorted({need for peer in LENET5 for need in peer.needs if not importlib.util.find_spec(need)})
    if missing and not (options.short or options.gpu):
        parser.error(f"not installed: {', '.join(missing)}; pip install 'digitnet[benchmark]', or --short")
    with tempfile.TemporaryDirectory() as folder:
        if options.gpu:
            show_gpu(options.turns, Path(folder))
        elif options.short:
            show_ratios(min(options.turns, 7), Path(folder), missing)
        else:
            write_all(options.turns, Path(folder))


if __name__ == "__main__":
    main()
