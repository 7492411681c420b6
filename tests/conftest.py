"""What tests share: the real command line in subprocesses and in this process, and small data sets."""

import functools
import gc
import gzip
import hashlib
import json
import logging
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; two threads each would wait for each other
import torch
from torch import Tensor

import forking
from digitnet import cli
from digitnet.data import idx, load_digits
from digitnet.runs.formats import read_metrics
from digitnet.sweep.launchers import processes

gc.freeze()  # torch's hundred thousands of objects: looking for garbage among them takes a tenth of the time

CHECKOUT = Path(__file__).parents[1]
TINY = ["data=digits", "data.enlarge_to=1437", "trainer.epochs=2", "logger=metrics"]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]
Trained = Callable[..., Path]


@pytest.fixture(autouse=True, scope="session")
def _signals() -> None:
    """As in a shell: whoever runs the tests in the background, or under nohup, has some of them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def _forks() -> Iterator[None]:
    start_server, processes.start_server = processes.start_server, forking.start_server
    yield
    processes.start_server = start_server
    forking.stop()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test works in a folder of its own, without the user's data, a network, or modules of another test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGITNET_DATA", str(tmp_path / "data"))
    for protocol in ("http", "https"):
        monkeypatch.setenv(f"{protocol}_proxy", "http://127.0.0.1:9")  # nothing listens on the discard port
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = handlers  # Hydra's write to where stdout went in the test
    root.setLevel(level)
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def shell() -> Command:
    """`shell(*arguments)`: digitnet in a process of its own, forked from one that has imported torch."""

    def call(*arguments: str) -> Outcome:
        process = forking.digitnet(*arguments)
        try:
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
        assert process.returncode is not None
        return Outcome(process.returncode, out, err)

    return call


@pytest.fixture
def interpreter() -> Command:
    """`interpreter(*arguments)`: digitnet in a new interpreter, which has imported nothing: seconds, if it trains."""

    def call(*arguments: str) -> Outcome:
        words = [sys.executable, "-W", "error", "-m", "digitnet", *arguments]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


def unprivileged(*arguments: str) -> subprocess.CompletedProcess[str]:
    """digitnet in a process that permissions hold for, even root's: what may not be read is not read either."""
    code = (
        "import ctypes, os, sys\n"
        "for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH\n"
        "    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP\n"
        "        sys.exit(77)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'digitnet', *sys.argv[1:]])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode == 77:
        pytest.skip("this root may not drop its privileges")
    return done


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`command(*arguments)`: digitnet's command line in this process, which has imported torch already."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        threads = torch.get_num_threads()
        try:
            code = cli.main(arguments)
        finally:
            torch.set_num_threads(threads)
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Path]:
    @functools.cache
    def train(options: tuple[str, ...]) -> Path:
        folder = tmp_path_factory.mktemp("trained") / "run"
        assert cli.main([*options, f"hydra.run.dir={folder}"]) == 0
        return folder

    return train


@pytest.fixture
def trained(_trained: Callable[[tuple[str, ...]], Path]) -> Trained:
    """`trained(*overrides, to="run")`: a finished run in the folder `to`; it is trained once a session, and copied."""

    def copy(*overrides: str, to: str = "run") -> Path:
        threads = torch.get_num_threads()
        shutil.copytree(_trained(overrides), to)
        torch.set_num_threads(threads)
        return Path(to)

    return copy


def run_folder() -> Path:
    """The folder of the only run below the working directory."""
    (summary,) = Path("outputs").rglob("summary.json")
    return summary.parent


def summary_in(run_dir: Path) -> dict[str, Any]:
    """summary.json as it was written."""
    summary: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    return summary


def files_in(folder: Path) -> set[str]:
    """Paths of its files, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def figures(run_dir: Path) -> list[tuple[float, ...]]:
    """metrics.csv without its times: epoch, lr, loss and accuracy of training, loss and accuracy of validation."""
    return [
        (r.epoch, r.lr, r.train_loss, r.train_acc, r.val_loss, r.val_acc) for r in read_metrics(run_dir / "metrics.csv")
    ]


def write(path: Path, content: str | bytes) -> None:
    """A file, and the folders that lead to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_idx(path: Path, values: Tensor) -> str:
    """Write a gzipped IDX file; returns its MD5 sum."""
    header = bytes([0, 0, 8, values.dim()]) + struct.pack(f">{values.dim()}I", *values.shape)
    content = header + values.to(torch.uint8).numpy().tobytes()
    write(path, gzip.compress(content, compresslevel=1, mtime=0))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of an MNIST of 1,437 training and 360 test images, real digits, whose checksums digitnet trusts."""
    digits = load_digits(enlarge_to=1437)
    raw = tmp_path / "data" / "MNIST" / "raw"
    splits = {"train": digits.train, "t10k": digits.test}
    archives = [
        write_idx(raw / f"{part}-{kind}-ubyte.gz", values)
        for part, split in splits.items()
        for kind, values in (("images-idx3", split.images[:, 0]), ("labels-idx1", split.labels))
    ]
    source = replace(idx.ARCHIVE_SETS["mnist"], archives=tuple(archives), contents=None)
    monkeypatch.setitem(idx.ARCHIVE_SETS, "mnist", source)
    return tmp_path / "data"


@pytest.fixture
def real_mnist(tmp_path: Path) -> Path:
    """The root of a copy of the real MNIST, from $DIGITNET_TEST_MNIST or ../shared/mnist; skips where there is none."""
    source = Path(os.environ.get("DIGITNET_TEST_MNIST", CHECKOUT.parent / "shared" / "mnist"))
    if not (source / "MNIST" / "raw").is_dir():
        pytest.skip("the real MNIST is not here; DIGITNET_TEST_MNIST names its folder")
    root = tmp_path / "real"
    shutil.copytree(source / "MNIST", root / "MNIST", copy_function=shutil.copyfile)
    return root
