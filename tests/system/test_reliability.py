"""What can go wrong around a run: signals, a second process, a full or vanished disk, foreign folders."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, Command, run_folder, unprivileged, write
from digitnet import resume, run
from digitnet.errors import ConfigError
from digitnet.runs.formats import read_metrics, read_summary
from digitnet.runs.writer import RunWriter
from digitnet.training import checkpoint
from digitnet.training.checkpoint import TrainState

LONG = [*TINY, "trainer.epochs=1000", "trainer.threads=1", "hydra.run.dir=here"]
HERE = Path("here")


Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def started() -> Iterator[Started]:
    """`started(*overrides)`: a run in a process of its own, which has finished an epoch."""
    processes: list[subprocess.Popen[str]] = []

    def start(*overrides: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "digitnet", *LONG, *overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        deadline = time.monotonic() + 120
        while not (HERE / "metrics.csv").exists() or not figures(HERE):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def figures(run_dir: Path) -> list[tuple[Any, ...]]:
    return [(r.epoch, r.lr, r.train_loss, r.val_loss) for r in read_metrics(run_dir / "metrics.csv")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_writes_a_checkpoint_within_the_epoch(started: Started, number: signal.Signals) -> None:
    process = started("checkpoint.every_minutes=null", "data.enlarge_to=10000")
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    summary = read_summary(HERE / "summary.json")
    assert summary.status == "interrupted"
    last = checkpoint.load_checkpoint(HERE / "checkpoints" / "last.pt")
    step = last["step"]
    assert step == summary.steps
    assert last["underway"] is not None
    assert step % 313 % 32 == 0  # of an epoch's 313 batches; they are trained on in chunks of 32
    assert len(figures(HERE)) == summary.epochs == last["epoch"] >= 1
    assert err == f"error: interrupted; checkpoints/last.pt is of step {step:,};\nto go on: digitnet resume here\n"
    assert (HERE / "train.log").read_text().endswith(err)


def test_a_second_process_is_refused_by_the_first_ones_name(command: Command, started: Started) -> None:
    process = started()
    for arguments in (["resume", "here"], [*TINY, "hydra.run.dir=here"]):
        done = command(*arguments)
        assert done.code == 1
        host = os.uname().nodename
        assert done.err == (
            f"error: here: process {process.pid} on {host} is at work there; wait for it, or stop it first\n"
        )
    process.kill()
    process.communicate()
    done = command("resume", "here", f"trainer.epochs={len(figures(HERE)) + 2}")  # the lock of the dead is nobody's
    assert (done.code, done.err) == (0, "")


def test_fifty_runs_of_one_second_have_fifty_folders() -> None:
    """Forks of one process, so that they begin together; each claims a folder as a run does."""
    code = """
import os, sys
from digitnet.compose import plan
from digitnet.sources import Tree
ready, go = os.pipe()
for _ in range(50):
    if os.fork() == 0:
        os.close(go)
        os.read(ready, 1)  # until the parent lets go
        with plan(sys.argv[1:], Tree.at(None)).claimed():
            pass
        os._exit(0)
os.close(go)
sys.exit(any(os.wait()[1] for _ in range(50)))
"""
    assert subprocess.run([sys.executable, "-c", code, *TINY]).returncode == 0
    assert len(list(Path("outputs").glob("*/*/.hydra/config.yaml"))) == 50


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of four megabytes, in memory."""
    folder = Path("disk").resolve()
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, but: int = 0) -> None:
    """Leave `but` bytes, about."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        with contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        ballast.truncate(max(0, (disk / "ballast").stat().st_size - but))


@pytest.mark.parametrize(("left", "file"), [(0, "summary.json"), (300_000, "checkpoints/best.pt")])
def test_a_full_disk(command: Command, small_disk: Path, left: int, file: str) -> None:
    run_dir = small_disk / "run"
    assert command(*TINY, "trainer.epochs=1", f"hydra.run.dir={run_dir}").code == 0
    before = (run_dir / "checkpoints" / "last.pt").read_bytes()
    fill(small_disk, left)
    done = command("resume", str(run_dir), "trainer.epochs=3")
    assert (done.code, done.err) == (1, f"error: {run_dir}/{file}: No space left on device\n")
    assert (run_dir / "checkpoints" / "last.pt").read_bytes() == before
    assert [epoch for epoch, *_ in figures(run_dir)] == [1]
    assert read_summary(run_dir / "summary.json").status == ("failed" if left else "finished")
    (small_disk / "ballast").unlink()
    assert command("resume", str(run_dir), "trainer.epochs=3").code == 0
    assert [epoch for epoch, *_ in figures(run_dir)] == [1, 2, 3]
    assert read_summary(run_dir / "summary.json").status == "finished"


def test_a_disk_that_fills_while_training(command: Command, small_disk: Path) -> None:
    run_dir = small_disk / "run"
    done = command(*LONG[:-1], f"hydra.run.dir={run_dir}", "checkpoint.keep=null", "trainer.epochs=30")
    assert done.code == 1
    assert done.err.startswith(f"error: {run_dir}/checkpoints/")
    assert done.err.endswith(": No space left on device\n")
    summary = read_summary(run_dir / "summary.json")
    assert summary.status == "failed"
    assert summary.steps == checkpoint.load_checkpoint(run_dir / "checkpoints" / "last.pt")["step"] > 0
    for path in (run_dir / "checkpoints").glob("[!.]*"):
        checkpoint.load_checkpoint(path)
    done = command("resume", str(run_dir), "checkpoint.keep=1", f"trainer.epochs={summary.epochs + 3}")
    assert (done.code, done.err) == (0, "")  # with room again, as keep=1 has removed the others


def test_a_read_only_folder(command: Command, small_disk: Path) -> None:
    run_dir = small_disk / "run"
    assert command(*TINY, "trainer.epochs=1", f"hydra.run.dir={run_dir}").code == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = command("resume", str(run_dir), "trainer.epochs=2")
    assert (done.code, done.err) == (1, f"error: {run_dir}/.lock: Read-only file system\n")
    done = command(*TINY, f"hydra.run.dir={small_disk / 'other'}")
    assert done.code == 1
    assert done.err.startswith("error: cannot make the run's folder (")
    assert "Read-only file system); set hydra.run.dir=FOLDER to another" in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="root's privileges are dropped as Linux has it")
def test_a_folder_without_permission(command: Command) -> None:
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=here").code == 0
    before = (HERE / "summary.json").read_bytes()
    HERE.chmod(0o500)
    try:
        done = unprivileged("resume", "here", "trainer.epochs=2")
        assert (done.returncode, done.stderr) == (1, "error: here/summary.json: Permission denied\n")
        done = unprivileged(*TINY, "hydra.run.dir=here/another")
        assert done.returncode == 1
        assert done.stderr.startswith("error: cannot make the run's folder (here/another")
        assert done.stderr.endswith("Permission denied); set hydra.run.dir=FOLDER to another\n")
    finally:
        HERE.chmod(0o700)
    assert (HERE / "summary.json").read_bytes() == before


def test_a_folder_that_vanishes(started: Started) -> None:
    process = started()
    HERE.rename("elsewhere")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("error: here/")
    assert err.endswith(": No such file or directory\n")


def test_a_network_of_a_foreign_run_is_imported_only_on_trust(command: Command) -> None:
    write(
        Path("mine.py"),
        "from torch import nn\n"
        "__import__('pathlib').Path('imported').touch()\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n",
    )
    options = [*TINY, "model=custom", "model.target=mine:Net", "optimizer.lr=0.1", "hydra.run.dir=here"]
    assert command(*options).code == 0
    Path("imported").unlink()
    sys.modules.pop("mine")
    done = command("resume", "here", "trainer.epochs=3")
    assert done.code == 2
    assert done.err == (
        "error: here: its network is mine:Net, which would be imported and run;\n"
        "if you trust whom the folder is from, add --trust\n"
    )
    assert not Path("imported").exists()
    assert command("resume", "here", "trainer.epochs=3", "--trust").code == 0
    assert Path("imported").exists()
    assert read_summary(HERE / "summary.json").resumed == ["digitnet resume here trainer.epochs=3 --trust"]


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').touch()",)


def test_nothing_in_a_foreign_checkpoint_runs(command: Command) -> None:
    assert command(*TINY, "hydra.run.dir=here").code == 0
    last = HERE / "checkpoints" / "last.pt"
    torch.save({**checkpoint.load_checkpoint(last), "underway": Malicious()}, last)
    done = command("resume", "here", "trainer.epochs=3")
    assert done.code == 1
    assert done.err.startswith("error: here/checkpoints/last.pt: not a readable checkpoint (UnpicklingError: ")
    assert not Path("ran").exists()


def test_a_foreign_folder_leads_no_write_elsewhere(command: Command) -> None:
    assert command(*TINY, "hydra.run.dir=here").code == 0
    write(Path("precious"), "mine")
    (HERE / "train.log").unlink()
    (HERE / "train.log").symlink_to(Path("precious").resolve())
    done = command("resume", "here", "trainer.epochs=3")
    assert done.code == 1
    assert done.err == "error: here/train.log: a link, which no run makes; replace it by what it stands for\n"
    assert Path("precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (
            lambda: None,
            2,
            "optimizer.lr=3: cannot be changed in a run that has begun; what can: digitnet resume --help;",
        ),
        (lambda: shutil.rmtree(HERE), 2, "here: not a folder; give that of a run"),
        (
            lambda: (HERE / "summary.json").unlink(),
            2,
            "here: no summary.json there; bring it back; without, the weights ",
        ),
        (lambda: write(HERE / "summary.json", "{"), 1, "here/summary.json: not a run's summary (Invalid JSON: "),
        (
            lambda: write(HERE / "summary.json", "[]"),
            1,
            "here/summary.json: not a run's summary (Input should be",
        ),
        (
            lambda: edit(resumed=None),
            1,
            "here/summary.json: not a run's summary (resumed: Input should be a valid arr",
        ),
        (lambda: edit(epochs="many"), 1, "here/summary.json: not a run's summary (epochs: Input should be a valid int"),
        (lambda: edit(device=None), 1, "here/summary.json: not a run's summary (device: Input should be an obj"),
        (
            lambda: (HERE / "checkpoints/last.pt").unlink(),
            1,
            "here/checkpoints/last.pt: is not there, and was of step 45",
        ),
        (lambda: write(HERE / "checkpoints/last.pt", "PK"), 1, "here/checkpoints/last.pt: not a readable checkpoint ("),
        (
            lambda: another(seed=7),
            1,
            "here/checkpoints/last.pt: does not fit the run (ValueError: it is of another run: ",
        ),
        (lambda: another(model={"name": 1}), 1, "here/checkpoints/last.pt: does not fit the run (ValidationError: "),
        (lambda: os.mkfifo(HERE / "notes"), 1, "here/notes: neither a file nor a folder; remove it"),
        (lambda: edit(config={}), 1, "here/summary.json: of a version that could not resume; start the run anew"),
        (lambda: edit(config={"seed": 1}), 2, "here/summary.json: "),
        (lambda: edit(status="diverged"), 2, "here: diverged, and would again; start a new run"),
    ],
)
def test_what_cannot_be_resumed(command: Command, spoil: Any, code: int, message: str) -> None:
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=here").code == 0
    spoil()
    before = result()
    done = command("resume", "here", "optimizer.lr=3" if "lr=3" in message else "trainer.epochs=2")
    assert result() == before
    assert done.err.startswith(f"error: {message}"), done.err
    assert done.code == code
    assert len(done.err.splitlines()) <= 4


def result() -> list[object]:
    """What a resume that is refused must not touch."""
    try:
        summary = read_summary(HERE / "summary.json")
    except (OSError, ValueError):
        return []
    return [summary.status, summary.test, summary.epochs, summary.config, (HERE / "metrics.csv").read_bytes()]


def another(**changes: Any) -> None:
    last = HERE / "checkpoints" / "last.pt"
    content = checkpoint.load_checkpoint(last)
    torch.save({**content, "config": content["config"] | changes}, last)


def test_where_runs_are(command: Command) -> None:
    """A folder that is near a run's leads to it."""
    assert command(*TINY, "trainer.epochs=1", "checkpoint.keep=1", "hydra.run.dir=runs/1").code == 0
    write(Path("runs/2/.hydra/config.yaml"), "")
    for folder, hint in (
        ("runs", "no summary.json there; give one of the runs in it, runs/1 for instance"),
        ("runs/1/checkpoints", "no summary.json there; give runs/1"),
        ("runs/2", "no summary.json there; it did not get as far as training; start it again"),
        ("runs/2/.hydra", "no summary.json there; give the folder of a run or of a sweep"),
        ("runs/3", "not a folder; give that of a run"),
        ("seed=1", "no such folder; RUN_DIR comes first: digitnet resume RUN_DIR seed=1"),
    ):
        done = command("resume", folder)
        assert (done.code, done.err) == (2, f"error: {folder}: {hint}\n")
    last = Path("runs/1/checkpoints/last.pt")
    last.unlink()
    done = command("resume", "runs/1", "trainer.epochs=2")
    assert done.err.endswith(
        "bring it back, or go on from another one: cp runs/1/checkpoints/epoch_1.pt runs/1/checkpoints/last.pt\n"
    )
    shutil.copy("runs/1/checkpoints/epoch_1.pt", last)
    assert command("resume", "runs/1", "trainer.epochs=2").code == 0


def test_what_a_stop_before_the_training_leaves_is_in_nobodys_way(command: Command) -> None:
    """Importing torch takes seconds: a signal then is none that ends without a word."""
    process = subprocess.Popen([sys.executable, "-m", "digitnet", *LONG], stderr=subprocess.PIPE, text=True)
    while not (HERE / ".lock").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("error: interrupted")
    if (HERE / "summary.json").exists():
        assert command("resume", "here", "trainer.epochs=1").code == 0
    else:
        assert command(*TINY, "hydra.run.dir=here").code == 0


def test_a_signal_that_comes_out_as_another_error(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one within the import of compiled code does."""

    def draw(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setattr("digitnet.experiment.run._write_results", draw)
    done = command(*TINY, "hydra.run.dir=here")
    assert done.code == 130
    assert done.err == "error: interrupted; checkpoints/last.pt is of step 90;\nto go on: digitnet resume here\n"
    assert read_summary(HERE / "summary.json").status == "interrupted"


def test_pictures_after_all(command: Command) -> None:
    assert command(*TINY, "hydra.run.dir=here").code == 0
    test = read_summary(HERE / "summary.json").test
    assert command("resume", "here", "logger=full").code == 0
    assert (HERE / "confusion.png").exists()
    assert read_summary(HERE / "summary.json").test == test


def test_from_another_working_directory(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, grey in (("no", 10), ("yes", 240)):
        for number in range(4):
            picture(Path("images", name, f"{number}.png"), grey + number)
    options = ["data=folder", "data.root=images", "trainer.epochs=1", "optimizer.lr=0.1", "logger=metrics"]
    assert command(*options, "hydra.run.dir=here").code == 0
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert command("resume", "../here", "trainer.epochs=2").code == 0


def edit(**changes: object) -> None:
    content = json.loads((HERE / "summary.json").read_text())
    write(HERE / "summary.json", json.dumps(content | changes))


def test_other_mistakes_of_resume(command: Command) -> None:
    assert command(*TINY, "trainer.epochs=2", "hydra.run.dir=here").code == 0
    for arguments, message in (
        ("trainer.epoch=3", "no key 'trainer.epoch' … did you mean 'trainer.epochs'?"),
        ("trainer.epochs=three", "trainer.epochs=three: should be a valid integer"),
        ("trainer.epochs=3,4", "trainer.epochs=3,4: one value, not several"),
        ("trainer.epochs=1", "trainer.epochs=1: the run has 2 already; ask for at least 2"),
        ("device=tpu", "device=tpu: no such option … did you mean 'cpu'? There are auto, cpu"),
        ("logger=metric", "logger=metric: no such option … did you mean 'metrics'?"),
        ("checkpoint.kep=1", "no key 'checkpoint.kep' … did you mean 'checkpoint.keep'?"),
        (
            "checkpoint=1",
            "checkpoint=1: has no options; set one of checkpoint.every_epochs, checkpoint.every_minutes, ",
        ),
        ("another", "'another': is not KEY=VALUE; see digitnet resume --help"),
    ):
        done = command("resume", "here", arguments)
        assert (done.code, done.err[: len(message) + 7]) == (2, f"error: {message}"), done.err
    assert command("resume").err == "error: the following arguments are required: RUN_DIR; see digitnet resume --help\n"
    done = command("resume", "here")
    assert (done.code, done.out) == (0, "here: finished; for more: digitnet resume here trainer.epochs=N\n")


def test_other_images_than_before(command: Command) -> None:
    for name, grey in (("no", 10), ("yes", 240)):
        for number in range(4):
            picture(Path("images", name, f"{number}.png"), grey + number)
    options = ["data=folder", "data.root=images", "trainer.epochs=1", "optimizer.lr=0.1", "logger=metrics"]
    assert command(*options, "hydra.run.dir=here").code == 0
    picture(Path("images/no/0.png"), 99)
    done = command("resume", "here", "trainer.epochs=2")
    assert done.code == 1
    assert done.err == (
        f"error: here/checkpoints/last.pt: of a run on other images than those in {Path('images').absolute()} now "
        "(others of the same number);\nbring those back, or start a new run\n"
    )
    Path("images/no/0.png").unlink()
    assert "now (8 images then, 7 images now);" in command("resume", "here", "trainer.epochs=2").err


def picture(path: Path, grey: int) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (28, 28), grey).save(path)


def test_what_auto_found_stays(command: Command, small_mnist: Path) -> None:
    hidden = small_mnist.rename(small_mnist.with_name("hidden"))
    assert command("data.enlarge_to=1437", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=here").code == 0
    assert read_summary(HERE / "summary.json").dataset["name"] == "digits"
    shutil.copytree(hidden, small_mnist, dirs_exist_ok=True)
    assert command("resume", "here", "trainer.epochs=2").code == 0
    assert read_summary(HERE / "summary.json").dataset["name"] == "digits"


def test_a_length_that_the_schedule_depends_on(command: Command) -> None:
    assert command(*TINY, "schedule=cosine", "hydra.run.dir=here").code == 0
    done = command("resume", "here", "trainer.epochs=3")
    assert (
        "warning: schedule=cosine depends on the run's length: the epochs before were trained as of 2, from here on it "
        "is as of 3\n"
    ) in done.out


def test_another_machine_is_said_aloud(command: Command) -> None:
    assert command(*TINY, "trainer.threads=1", "hydra.run.dir=here").code == 0
    content = json.loads((HERE / "summary.json").read_text())
    edit(device={**content["device"], "threads": 64}, versions={**content["versions"], "torch": "1.0"})
    done = command("resume", "here", "trainer.epochs=3")
    assert "so neither are the figures (threads was 64, is 1; torch was 1.0, is 2" in done.out


def test_from_python(command: Command) -> None:
    done = run(*TINY, run_dir="here")
    again = resume("here", "trainer.epochs=3")
    assert again is not None
    assert [record.epoch for record in again.records] == [1, 2, 3]
    assert again.records[:2] == done.records
    assert resume("here") is None
    with pytest.raises(ConfigError, match="cannot be changed in a run that has begun"):
        resume("here", "seed=3")


def test_checkpoints_that_are_kept(command: Command) -> None:
    options = [*TINY, "trainer.epochs=5", "checkpoint.every_epochs=2"]
    for name, keep, kept in (("none", "0", []), ("two", "2", [4, 5]), ("all", "null", [2, 4, 5])):
        assert command(*options, f"checkpoint.keep={keep}", f"hydra.run.dir={name}").code == 0
        found = {path.name for path in Path(name, "checkpoints").iterdir()}
        assert found == {"best.pt", "last.pt", *(f"epoch_{number}.pt" for number in kept)}
        assert checkpoint.load_checkpoint(Path(name, "checkpoints/last.pt"))["epoch"] == 5


def test_an_epoch_without_a_checkpoint_is_trained_again(command: Command, started: Started) -> None:
    """metrics.csv may know of more epochs than last.pt: they are dropped, and no epoch is there twice."""
    # A network that learns nothing: its best epoch, of which there is a checkpoint, is the first.
    options = ["checkpoint.every_epochs=1000", "optimizer.lr=1e-30"]
    process = started(*options)
    while len(figures(HERE)) < 3:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    known = len(figures(HERE))
    assert checkpoint.load_checkpoint(HERE / "checkpoints" / "last.pt")["epoch"] == 1
    assert command("resume", "here", f"trainer.epochs={known}").code == 0
    assert [epoch for epoch, *_ in figures(HERE)] == list(range(1, known + 1))
    whole = [*TINY, *options, "trainer.threads=1", "hydra.run.dir=whole"]
    assert command(*whole, f"trainer.epochs={known}").code == 0
    assert figures(HERE) == figures(Path("whole"))


def test_a_plateau_is_said_aloud_once(command: Command) -> None:
    done = command(*TINY, "trainer.epochs=4", "trainer.plateau_epochs=2", "optimizer.lr=0.001")
    assert done.out.count("warning: for 2 epochs the loss has been at chance, ln 10 = 2.30. LeNet-5 with sigmoids") == 1
    lines = done.out.splitlines()
    assert lines[lines.index(next(line for line in lines if "at chance" in line)) - 1].startswith("  2/4")
    done = command(*TINY, "trainer.epochs=2", "trainer.plateau_epochs=null", "optimizer.lr=0.001")
    assert "at chance" not in done.out
    options = ["data.enlarge_to=6000", "optimizer=adam", "optimizer.lr=0.003"]
    done = command(*TINY, "trainer.epochs=2", "trainer.plateau_epochs=2", *options)
    assert "at chance" not in done.out


@pytest.mark.parametrize(("limit", "advice"), [(10, "trainer.batch_size=8 fits"), (0, "not even a batch of one image")])
def test_what_would_fit_in_memory(command: Command, monkeypatch: pytest.MonkeyPatch, limit: int, advice: str) -> None:
    forward = torch.nn.Sequential.forward

    def hungry(layers: torch.nn.Sequential, images: torch.Tensor) -> torch.Tensor:
        if layers.training and len(images) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB\nand more")
        return forward(layers, images)

    monkeypatch.setattr(torch.nn.Sequential, "forward", hungry)
    done = command(*TINY, "device=cpu")
    assert done.code == 1
    assert done.err.startswith("error: trainer.batch_size=32: a step needs more memory than cpu has; " + advice)
    assert read_summary(run_folder() / "summary.json").status == "failed"


def test_three_hundred_epochs_take_no_more_than_ten(started: Started) -> None:
    """Memory, open files and threads of one process, looked at from outside."""
    process = started("trainer.epochs=300")
    proc = Path(f"/proc/{process.pid}")
    if not proc.exists():
        pytest.skip("there is no /proc")
    seen: dict[int, tuple[int, int, int]] = {}
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
            epochs = len(figures(HERE))
            pages = int((proc / "statm").read_text().split()[1])
            seen[epochs] = (pages, len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir())))
        time.sleep(0.02)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, ""), out
    early = [seen[epochs] for epochs in seen if 10 <= epochs < 50]
    late = [seen[epochs] for epochs in seen if 260 <= epochs < 299]  # at the very end it gives all back
    assert early
    assert late
    # The lowest, as a look may meet an epoch's checkpoint in memory, and its file open.
    for before, after, factor in zip(map(min, *early), map(min, *late), (1.05, 1, 1), strict=True):
        assert after <= factor * before


class Died(BaseException):
    """A process that was killed, for who cannot catch it."""


@pytest.mark.parametrize(
    ("dying", "call", "epochs"),
    [
        ("training.checkpoint.write_atomically", "last.pt", 2),  # nor is there a best epoch that the run has not
        ("training.checkpoint.write_atomically", "best.pt", 3),
        ("runs.writer.write_metrics", "metrics.csv", 3),
    ],
)
def test_killed_between_two_files(
    command: Command, monkeypatch: pytest.MonkeyPatch, dying: str, call: str, epochs: int
) -> None:
    """Of the third epoch: the files that come after last.pt are brought to what it knows."""
    assert command(*TINY, f"trainer.epochs={epochs}", "trainer.threads=1", "hydra.run.dir=whole").code == 0
    room, _, name = dying.rpartition(".")
    count = 2 if call == "best.pt" else 3
    original = getattr(sys.modules[f"digitnet.{room}"], name)
    seen = 0

    def die(path: Path, *arguments: Any) -> None:
        nonlocal seen
        seen += path.name == call and ("metrics" not in call or len(arguments[0]) > 0)
        if seen == count:
            raise Died
        original(path, *arguments)

    odd = property(lambda book: [record for record in book.records if record.epoch % 2][-1])
    monkeypatch.setattr(RunWriter, "best", odd)  # the first epoch and the third
    with monkeypatch.context() as patch:
        patch.setattr(f"digitnet.{dying}", die)
        patch.setattr(RunWriter, "write_summary", lambda book: None if seen == count else write_summary(book))
        with pytest.raises(Died):
            command(*TINY, "trainer.epochs=3", "trainer.threads=1", "hydra.run.dir=here")
    assert read_summary(HERE / "summary.json").status == "running"
    assert command("resume", "here", f"trainer.epochs={epochs}").code == 0
    assert figures(HERE) == figures(Path("whole"))
    summary = read_summary(HERE / "summary.json")
    assert (summary.steps, summary.epochs) == (45 * epochs, epochs)
    assert summary.best is not None
    assert (
        checkpoint.load_checkpoint(HERE / "checkpoints" / "best.pt")["epoch"]
        == summary.best["epoch"]
        == {2: 1, 3: 3}[epochs]
    )


write_summary = RunWriter.write_summary


def test_a_folder_that_another_run_has_taken(started: Started, command: Command) -> None:
    """A lock is on a file; if that is removed, and made anew, two could have one."""
    process = started("trainer.threads=1")
    process.send_signal(signal.SIGSTOP)
    shutil.rmtree(HERE)
    assert command(*TINY, "hydra.run.dir=here", "seed=1").code == 0
    before = {path: path.read_bytes() for path in HERE.rglob("*") if path.is_file()}
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "error: here: was removed, and another run is in its place\n")
    assert {path: path.read_bytes() for path in HERE.rglob("*") if path.is_file()} == before


def test_a_resumed_run_downloads_nothing_unasked(command: Command, small_mnist: Path) -> None:
    """A foreign folder's data.root could be any folder of the user's."""
    options = ["data=mnist", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=here"]
    assert command(*options).code == 0
    raw = small_mnist / "MNIST" / "raw"
    shutil.rmtree(raw)
    write(raw / ".unfinished" / "x", "precious")
    done = command("resume", "here", "trainer.epochs=2")
    assert done.code == 1
    assert done.err.startswith(
        f"error: data=mnist: {raw}/train-images-idx3-ubyte.gz is not there and cannot be had "
        "(a run that goes on downloads only to a data.root that you name);\n"
    )
    assert [str(path.relative_to(raw)) for path in raw.rglob("*")] == [".unfinished", ".unfinished/x"]
    done = command("resume", "here", "trainer.epochs=2", f"data.root={small_mnist}")
    assert "urlopen error" in done.err
    assert read_summary(HERE / "summary.json").status == "finished"


def test_a_checkpoint_within_an_epoch_after_so_many_minutes(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def look(book: RunWriter, state: TrainState) -> None:
        write_checkpoint(book, state)
        content = checkpoint.load_checkpoint(HERE / "checkpoints" / "last.pt")
        seen.append((content["step"], content["underway"]["done"]))

    write_checkpoint = RunWriter.write_checkpoint
    monkeypatch.setattr(RunWriter, "write_checkpoint", look)
    options = [*TINY, "data.enlarge_to=4000", "trainer.epochs=1"]
    assert command(*options, "hydra.run.dir=here", "checkpoint.every_minutes=1e-9").code == 0
    assert seen == [(32, 1024), (64, 2048), (96, 3072), (125, 4000)]
    assert command(*options, "hydra.run.dir=other", "checkpoint.every_minutes=null").code == 0
    assert len(seen) == 4


def test_only_the_run_s_own_files_are_looked_at(command: Command) -> None:
    """Whoever trains in a folder with other things in it finds them as they were."""
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=.", "checkpoint.keep=1").code == 0
    Path("venv").mkdir()
    Path("venv/python").symlink_to(sys.executable)
    others = [
        Path("other/checkpoints/.unfinished-last.pt"),
        Path("checkpoints/epoch_1_good.pt"),
        Path("checkpoints/epoch_best.pt"),
    ]
    for path in others:
        write(path, "mine")
    left = Path("checkpoints/.unfinished-epoch_9.pt")
    write(left, "half")
    assert command("resume", ".", "trainer.epochs=3").code == 0
    assert [path.read_text() for path in others] == ["mine"] * 3
    assert not left.exists()
    assert sorted(path.name for path in Path("checkpoints").glob("epoch_?.pt")) == ["epoch_3.pt"]


def test_a_signal_at_the_very_end(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the last summary is written, for instance: it is not left with the run running."""

    def write(book: RunWriter) -> None:
        if book.summary.status == "finished":
            os.kill(os.getpid(), signal.SIGTERM)
        write_summary(book)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "write_summary", write)
        done = command(*TINY, "hydra.run.dir=here")
    assert done.code == 130
    assert done.err == "error: interrupted; checkpoints/last.pt is of step 90;\nto go on: digitnet resume here\n"
    assert read_summary(HERE / "summary.json").status == "interrupted"
    assert command("resume", "here").code == 0


def test_the_distorted_images_are_drawn_if_they_are_not_there(command: Command) -> None:
    options = [*TINY, "aug=distort", "aug.warmup_epochs=1", "logger=full", "logger.predictions=false"]
    assert command(*options, "hydra.run.dir=here").code == 0
    before = (HERE / "distorted.png").read_bytes()
    (HERE / "distorted.png").unlink()
    edit(status="running")
    assert command("resume", "here").code == 0
    assert (HERE / "distorted.png").read_bytes() == before
