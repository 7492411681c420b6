"""One run in several processes, started by the real torchrun: the same result, one voice, none left behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import TINY, Command, Outcome, run_folder, write
from digitnet import schedules
from digitnet.config.compose import load_config
from digitnet.data import load_digits
from digitnet.errors import ConfigError, DistributedError, DivergedError
from digitnet.experiment import run
from digitnet.experiment.components import build_components
from digitnet.models import LeNet5
from digitnet.runs.formats import RunSummary, read_metrics, read_summary
from digitnet.runs.writer import RunWriter
from digitnet.signals import Stop, handling_signals
from digitnet.training import checkpoint, distributed, loop
from digitnet.training.checkpoint import TrainState
from digitnet.training.distributed import SINGLE_PROCESS, ProcessGroup
from digitnet.training.loop import fit
from digitnet.training.record import EpochRecord

LONG = [*TINY, "trainer.epochs=300", "trainer.plateau_epochs=null"]
# Says who is which rank, and does as it is told before it does as `-m digitnet` does.
SCRIPT = """
import os, sys, time
from pathlib import Path
from digitnet import cli, ranks
Path("pid." + os.environ["RANK"]).write_text(str(os.getpid()))
{0}
sys.exit(cli.main())
"""


@contextlib.contextmanager
def torchrun(processes: int, *arguments: str, first: str | None = None) -> Iterator["subprocess.Popen[str]"]:
    """torchrun with so many processes of digitnet; what they are to do `first` is Python."""
    digitnet = ["-m", "digitnet"]
    if first is not None:
        Path("script.py").write_text(SCRIPT.format(first))
        digitnet = ["script.py"]
    ours = [sys.executable, "-W", "error", *digitnet, *arguments]
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--no-python", *ours]
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as torchrun sets it by itself, with many words
    )
    try:
        yield process
    finally:
        process.terminate()  # it ends the others
        process.communicate()


def outcome(process: "subprocess.Popen[str]") -> Outcome:
    """How it ends, by itself: what hangs fails the test; what torchrun has to kill, after 30 seconds, too."""
    out, err = process.communicate(timeout=100)
    assert "forcefully exiting" not in err
    return Outcome(process.returncode, out, err)


def together(processes: int, *arguments: str, first: str | None = None) -> Outcome:
    with torchrun(processes, *arguments, first=first) as process:
        return outcome(process)


def said(done: Outcome) -> str:
    """The only message of ours, among much of torchrun's, whose exit code for whatever went wrong is 1."""
    assert done.code == 1
    (message,) = re.findall(r"^error: .*\n(?:(?:to go on|lower|HYDRA)\b.*\n)?", done.err, re.MULTILINE)
    assert done.err.count("Traceback (most recent call last):") == 1  # torchrun's own
    assert not re.search(r"^\[rank\d\]:", done.err, re.MULTILINE)  # as PyTorch's compiled code begins
    assert done.out.count("\ntraining: ") <= 1
    return str(message)


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if found := what():
                return found
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def send(rank: int, number: int) -> None:
    os.kill(int(Path(f"pid.{rank}").read_text()), number)


def an_epoch_is_done() -> bool:
    return read_summary(run_folder() / "summary.json").epochs > 0


def figures(run_dir: Path) -> list[tuple[float, ...]]:
    return [
        (r.epoch, r.lr, r.train_loss, r.train_acc, r.val_loss, r.val_acc) for r in read_metrics(run_dir / "metrics.csv")
    ]


def check_alike(ours: Path, theirs: Path) -> None:
    """Two runs within rounding: figures, weights, and how far they came."""
    for left, right in zip(figures(ours), figures(theirs), strict=True):
        assert left == pytest.approx(right, rel=1e-4)
    left, right = (checkpoint.load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (ours, theirs))
    assert (left["epoch"], left["step"], left["underway"]) == (right["epoch"], right["step"], None)
    assert left["model"].keys() == right["model"].keys()
    for name, weights in left["model"].items():
        torch.testing.assert_close(weights, right["model"][name], rtol=0, atol=2e-5)
    assert torch.equal(left["generator"], right["generator"])


def files_of(run_dir: Path) -> set[str]:
    return {str(path.relative_to(run_dir)) for path in run_dir.rglob("*")}


def test_the_result_is_that_of_one_process(command: Command) -> None:
    """Also with distortions, and where the last batch of an epoch has an image for one of three processes only."""
    options = [
        *TINY,
        "trainer.epochs=3",
        "model.dropout=0",
        "optimizer.lr=0.3",
        "optimizer.momentum=0.9",
        "trainer.plateau_epochs=null",
    ]
    options += ["trainer.batch_size=359", "aug=distort", "aug.warmup_epochs=1", "logger.predictions=true"]
    done = together(3, *options)
    assert (done.code, done.err) == (0, "")
    run_dir = run_folder()
    assert len(list(Path("outputs").glob("*/*"))) == 1  # rank 0 alone has a folder
    lines = done.out.splitlines()
    assert lines[2].endswith("on CPU (1 thread), 3 processes")
    assert [line.split()[0] for line in lines[4:8]] == ["epoch", "1/3", "2/3", "3/3"]
    assert lines[8].startswith("test accuracy ")
    assert len(lines) == 9
    assert (run_dir / "train.log").read_text() == done.out

    assert command(*options, "trainer.threads=1", "hydra.run.dir=alone").code == 0
    check_alike(run_dir, Path("alone"))
    assert files_of(run_dir) == files_of(Path("alone"))
    ours, theirs = (read_summary(folder / "summary.json") for folder in (run_dir, Path("alone")))
    assert (ours.device["processes"], theirs.device["processes"]) == (3, 1)
    assert ours.test is not None
    assert theirs.test is not None
    assert ours.test["errors"] == theirs.test["errors"]


def test_killed_and_interrupted_and_gone_on_with_in_other_numbers_of_processes(command: Command) -> None:
    options = [*TINY, "data.enlarge_to=6000", "trainer.threads=1", "checkpoint.every_minutes=0.0001", "model.dropout=0"]
    options += ["optimizer.lr=0.3", "optimizer.momentum=0.9"]
    run_dir = Path("run")
    with torchrun(2, *options, "hydra.run.dir=run", first="") as process:
        wait_for((run_dir / "checkpoints" / "last.pt").exists)
        send(1, signal.SIGKILL)
        done = outcome(process)
    summary = read_summary(run_dir / "summary.json")
    assert 0 < summary.steps < 188  # of the epoch
    why = "another process of this run has ended (rank 0 noticed)"
    check_ended(done, run_dir, "failed", f"{why}; checkpoints/last.pt is of step {summary.steps}")

    with torchrun(3, "resume", "run", "trainer.threads=null") as process:
        wait_for(lambda: read_summary(run_dir / "summary.json").steps > summary.steps)
        process.send_signal(signal.SIGINT)  # to torchrun: Ctrl-C reaches no other, each has a session of its own
        done = outcome(process)
    assert f"\ngoing on from epoch 1, step {summary.steps} of 188\n" in done.out
    assert "(processes was 2, is 3)" in done.out
    summary = read_summary(run_dir / "summary.json")
    check_ended(done, run_dir, "interrupted", f"interrupted; checkpoints/last.pt is of step {summary.steps}")

    assert command("resume", "run", "trainer.threads=1").code == 0
    assert command(*options, "hydra.run.dir=whole").code == 0
    check_alike(run_dir, Path("whole"))


def check_ended(done: Outcome, run_dir: Path, status: str, how: str) -> None:
    """In the same words on the terminal and in the run's folder."""
    error = f"{how};\nto go on: digitnet resume {run_dir}"
    assert said(done) == f"error: {error}\n"
    summary = read_summary(run_dir / "summary.json")
    assert (summary.status, summary.error) == (status, error)
    assert (run_dir / "train.log").read_text().endswith(f"\nerror: {error}\n")


def test_the_one_that_writes_is_killed() -> None:
    with torchrun(2, *LONG, first="ranks.FIRST_WORD = 0.5") as process:
        wait_for(an_epoch_is_done)
        send(0, signal.SIGKILL)
        done = outcome(process)
    summary = read_summary(run_folder() / "summary.json")
    assert summary.status == "running"  # as after any SIGKILL
    assert said(done) == (
        "error: another process of this run has ended (rank 1 noticed); "
        f"checkpoints/last.pt is of step {summary.steps};\nto go on: digitnet resume {run_folder()}\n"
    )


NETWORK = """
import os
import torch
from torch import nn

class Hungry(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.seldom = nn.Linear(784, 10), nn.Linear(784, 10)
        self.steps = 0
    def forward(self, images):
        self.steps += self.training
        if self.steps == 60 and os.environ.get("RANK") == "1":
            raise torch.OutOfMemoryError("CUDA out of memory")
        layers = [self.used, self.seldom] if self.steps == 1 else [self.used]
        return sum(layer(images.flatten(1)) for layer in layers)
"""


def test_a_network_of_ones_own_and_what_goes_wrong_in_one_process_alone(command: Command) -> None:
    """Weights that not every step uses are as good as with one process. Where memory does not suffice, what would fit
    is not tried out: a step takes all processes.
    """
    write(Path("mine.py"), NETWORK)
    options = [*TINY, "trainer.threads=1", "model=custom", "model.target=mine:Hungry", "optimizer.lr=0.1"]
    done = together(2, *options, "trainer.epochs=2", "hydra.run.dir=run", first="ranks.FIRST_WORD = 0.5")
    assert said(done) == "error: trainer.batch_size=32: a step needs more memory than cpu has; lower it\n"
    summary = read_summary(Path("run/summary.json"))
    assert (summary.status, summary.steps) == ("failed", 45)
    assert str(summary.error).startswith("another process of this run has ended (rank 0 noticed); checkpoints/last.pt")

    assert command(*options, "trainer.epochs=1", "hydra.run.dir=alone").code == 0
    check_alike(Path("run"), Path("alone"))


def test_a_finished_run_is_said_to_be_so_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=run").code == 0
    for rank, answer in ((0, "run: finished; for more: digitnet resume run trainer.epochs=N\n"), (1, "")):
        pretend(monkeypatch, rank)
        assert command("resume", "run") == Outcome(0, answer, "")


def test_a_process_that_no_longer_answers() -> None:
    """As all are that wait for a GPU which waits for a dead one: Python hears no signal."""
    with torchrun(2, *LONG, first="ranks.LAST_RESORT = 0.5") as process:
        wait_for(an_epoch_is_done)
        send(1, signal.SIGSTOP)
        time.sleep(0.5)  # so that rank 0 is waiting
        send(0, signal.SIGTERM)
        wait_for(lambda: read_summary(run_folder() / "summary.json").status == "failed")
        wait_for(lambda: not is_alive(0))
        send(1, signal.SIGCONT)
        done = outcome(process)
    steps = read_summary(run_folder() / "summary.json").steps
    why = "another process of this run does not answer (rank 0 waited for it)"
    check_ended(done, run_folder(), "failed", f"{why}; checkpoints/last.pt is of step {steps}")


def is_alive(rank: int) -> bool:
    """Until torchrun has noticed."""
    try:
        send(rank, 0)
    except ProcessLookupError:
        return False
    return True


DIVERGED = (
    "epoch 1, step 2 of 45: the loss is nan;\nlower optimizer.lr (it was 1e+30), or begin with little: "
    "schedule=onecycle"
)


TAKEN = "taken: holds a run already, and runs never share a folder; choose another"


@pytest.mark.parametrize(
    ("override", "message", "codes"),
    [
        ("trainer.epocs=3", "no key 'trainer.epocs' … did you mean 'trainer.epochs'?", [2]),
        ("hydra.run.dir=taken", TAKEN, [2, 130]),  # the other, which waits, is interrupted
        ("optimizer.lr=1e30", DIVERGED, [1]),
    ],
    ids=["configuration", "folder", "divergence"],
)
def test_what_goes_wrong_is_said_once(override: str, message: str, codes: list[int]) -> None:
    write(Path("taken/summary.json"), "{}")
    done = together(2, *TINY, override, first="time.sleep(1.0 * (os.environ['RANK'] == '0'))")  # the other is first
    assert said(done) == f"error: {message}\n"
    for code in codes:
        assert f"exitcode  : {code} (" in done.err  # torchrun's word for it
    found = [read_summary(path).status for path in Path("outputs").rglob("summary.json")]
    assert found == (["diverged"] if message == DIVERGED else [])


# Without torchrun.


def pretend(monkeypatch: pytest.MonkeyPatch, rank: int, size: int = 2) -> None:
    for key, value in {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")  # as the command line does, and leaves it
    monkeypatch.setattr(ProcessGroup, "speaks", lambda self: True)


def test_who_is_who(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distributed.current_group() is SINGLE_PROCESS
    pretend(monkeypatch, 1, 4)
    assert distributed.current_group() == ProcessGroup(1, 4, 1, 4)
    monkeypatch.delenv("MASTER_ADDR")  # set by others than torchrun
    assert distributed.current_group() is SINGLE_PROCESS


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["-m", "seed=0,1"], "a sweep"),
        (["sweep=lr"], "a sweep"),
        (["resume", "sweep"], "a sweep"),
        (["tune"], "digitnet tune"),
        (["compare", "outputs"], "digitnet compare"),
    ],
)
def test_what_is_not_for_torchrun(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], what: str
) -> None:
    write(Path("sweep/sweep.json"), "{}")
    pretend(monkeypatch, 0)
    message = f"error: {what} is not for torchrun, which started 2 processes; start it without\n"
    assert command(*arguments) == Outcome(2, "", message)


def test_more_threads_than_cores() -> None:
    cores = os.cpu_count() or 1
    plural = f"{cores} core{'' if cores == 1 else 's'}"
    with pytest.raises(ConfigError) as caught:
        build_components(load_config([*TINY, "trainer.threads=1"]), ranks=ProcessGroup(0, cores + 1, 0, cores + 1))
    assert str(caught.value) == f"trainer.threads=1 in each of {cores + 1} processes: this machine has {plural}"


def test_batch_normalization_on_a_cpu() -> None:
    with pytest.raises(ConfigError) as caught:
        build_components(load_config([*TINY, "model=fastnet"]), ranks=ProcessGroup(0, 2))
    assert str(caught.value) == (
        "model=fastnet: its batch normalization would see only a part of each batch, as PyTorch has it for several "
        "processes on GPUs alone; leave torchrun out"
    )


def test_a_process_that_ends_while_a_run_is_gone_on_with(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=run").code == 0

    def closed(*_: object) -> None:
        raise RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:41532")

    pretend(monkeypatch, 0)
    monkeypatch.setattr(ProcessGroup, "joined", lambda self, device, stop, give_up: contextlib.nullcontext())
    monkeypatch.setattr(ProcessGroup, "wrap", lambda self, model, device, unused: model)
    monkeypatch.setattr(ProcessGroup, "agree", closed)
    done = command("resume", "run", "trainer.epochs=2")
    error = (
        "another process of this run has ended (rank 0 noticed); checkpoints/last.pt is of step 45;\n"
        "to go on: digitnet resume run"
    )
    assert (done.code, done.err) == (1, f"error: {error}\n")
    assert read_summary(Path("run/summary.json")).error == error


def test_a_signal_does_not_cut_a_message_off(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which another process may have said meanwhile, and have ended."""
    monkeypatch.setattr(ProcessGroup, "speaks", lambda self: os.kill(os.getpid(), signal.SIGTERM) is None)
    found = []
    with contextlib.suppress(KeyboardInterrupt):
        found.append(command("trainer.epocs=3"))
    assert found == [Outcome(2, "", "error: no key 'trainer.epocs' … did you mean 'trainer.epochs'?\n")]


class JoinedError(Exception):
    """As far as a test without such devices comes."""


def joined(group: ProcessGroup, device: str, error: Exception | None = None) -> None:
    with group.joined(torch.device(device), Stop(), print):
        raise error or JoinedError


def test_too_few_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError) as caught:
        joined(ProcessGroup(0, 2, 0, 2), "cuda")
    assert str(caught.value) == (
        "torchrun: 2 processes, and this machine has 1 GPU; start it with --nproc-per-node=1, or set device=cpu"
    )
    with pytest.raises(ConfigError) as caught:
        joined(ProcessGroup(0, 2, 0, 2), "mps")
    assert str(caught.value) == "device=mps: there is one in a machine; leave torchrun out, or set device=cpu"


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Any] = []
    store = torch.distributed.HashStore()
    store.add("here", 3)  # the others
    monkeypatch.setattr(distributed, "_meeting_place", lambda patience: store)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda backend, **more: chosen.extend([backend, more["rank"], more["world_size"], more["device_id"]]),
    )
    with pytest.raises(JoinedError):
        joined(ProcessGroup(3, 4, 1, 2), "cuda")
    assert chosen == [1, "nccl", 3, 4, torch.device("cuda", 1)]

    with pytest.raises(DistributedError, match=r"another process of this run has ended \(rank 3 noticed\)"):
        joined(ProcessGroup(3, 4, 1, 2), "cuda", RuntimeError("NCCL error: remote process exited"))


def test_processes_differ_in_dropout_alone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """When they begin, and when they go on from what rank 0 has left."""
    monkeypatch.setattr(ProcessGroup, "wrap", lambda self, model, device, unused: model)
    config = load_config([*TINY, "model=lenet5"])
    first, second = build_components(config, ranks=ProcessGroup(0, 2)), None
    streams = [torch.rand(3)]
    second = build_components(config, ranks=ProcessGroup(1, 2))
    streams.append(torch.rand(3))
    assert torch.equal(first.state.generator.get_state(), second.state.generator.get_state())
    for ours, theirs in zip(first.state.model.parameters(), second.state.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)

    assert command(*TINY, "hydra.run.dir=run").code == 0
    for setup in (first, second):
        summary = read_summary(Path("run/summary.json"))
        run._restore(setup, RunWriter(Path("run"), summary, config, lambda: None))
        streams.append(torch.rand(3))
    assert len({tuple(stream.tolist()) for stream in streams}) == 4


def test_all_look_at_the_losses_when_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that alone found that the run diverges would be a process that has ended, to the others."""

    class WithOther(ProcessGroup):
        def agree(self, row: Tensor, *wishes: bool) -> tuple[Tensor, list[bool]]:
            assert wishes == (False, False)
            return row, [False, True]

    monkeypatch.setattr(loop, "LOOK_SECONDS", 1000.0)
    monkeypatch.setattr(loop, "CHUNK", 64)
    digits = load_digits(enlarge_to=1437)
    model = LeNet5()
    state = TrainState(model, torch.optim.SGD(model.parameters(), lr=1e30), torch.Generator())
    records: Iterator[EpochRecord] = fit(
        state,
        digits.train[:640],
        digits.test[:50],
        epochs=1,
        batch_size=32,
        lr=1e30,
        schedule=schedules.constant,
        ranks=WithOther(),
    )
    with pytest.raises(DivergedError):
        next(records)
    assert state.step == 2


def test_rank_0_has_the_first_word_and_another_one_if_it_keeps_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "FIRST_WORD", 0.1)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2]):
        store = torch.distributed.HashStore()
        monkeypatch.setattr(distributed, "_meeting_place", lambda patience, store=store: store)
        assert [ProcessGroup(rank, 3).speaks() for rank in order] == [True, False, False][: len(order)]

    waiting = torch.distributed.HashStore()
    monkeypatch.setattr(distributed, "FIRST_WORD", 60.0)
    monkeypatch.setattr(distributed, "_meeting_place", lambda patience: waiting)
    answers: list[bool] = []
    other = threading.Thread(target=lambda: answers.append(ProcessGroup(1, 2).speaks()))
    other.start()
    time.sleep(0.1)  # it comes first, and waits
    assert ProcessGroup(0, 2).speaks()
    other.join()
    assert answers == [False]

    def gone(patience: timedelta) -> None:
        raise RuntimeError("torchrun was killed")

    monkeypatch.setattr(distributed, "_meeting_place", gone)
    assert ProcessGroup(1, 2).speaks()


def test_only_what_tells_of_another_rank_is_taken_for_it() -> None:
    for text, known in (
        ("[gloo] Connection closed by peer [127.0.0.1]", DistributedError),
        ("shapes differ", RuntimeError),
    ):
        with (
            pytest.raises(RuntimeError if known is RuntimeError else DistributedError) as caught,
            ProcessGroup(1, 2).noticing(),
        ):
            raise RuntimeError(text)
        assert type(caught.value) is known


def test_a_folder_that_does_not_exist_is_not_named(tmp_path: Path) -> None:
    """Rank 0 was killed before it had made one, or had said which."""
    logbook = RunWriter(tmp_path, RunSummary("running", "", 0, {}), load_config(TINY), lambda: None, writes=False)
    assert logbook.write_failure(KeyboardInterrupt()) == "interrupted"
    assert list(tmp_path.iterdir()) == []  # nor is anything written: that is rank 0's


def test_the_last_resort_is_for_who_stays() -> None:
    for stays in (True, False):
        ended = threading.Event()
        with handling_signals() as stop, contextlib.suppress(KeyboardInterrupt):
            waiting = stop.deferred() if stays else contextlib.nullcontext()
            with stop.last_resort(0.1, ended.set), waiting:
                os.kill(os.getpid(), signal.SIGTERM)
                assert ended.wait(10)
        assert ended.wait(0.5) is stays
    assert signal.set_wakeup_fd(-1) == -1


def test_a_run_that_has_failed_is_not_interrupted_besides() -> None:
    """By torchrun's SIGTERM, for instance, with which it ends all when one has ended."""
    with handling_signals() as outer:
        try:
            with handling_signals() as inner, inner.heeded(), inner.deferred():
                os.kill(os.getpid(), signal.SIGTERM)
                inner.end()
                raise DistributedError
        except (DistributedError, KeyboardInterrupt) as error:
            ended = type(error)
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert (ended, outer.wanted) == (DistributedError, None)
