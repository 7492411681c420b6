"""One of several processes, without torchrun: which one prints and writes, what is refused, errors of others."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import TINY, Command, Outcome, Trained, write
from digitnet import schedules
from digitnet.config.compose import load_config
from digitnet.data import load_digits
from digitnet.errors import ConfigError, DistributedError, DivergedError
from digitnet.experiment import restore
from digitnet.experiment.components import build_components
from digitnet.hardware import available_cores
from digitnet.models import LeNet5
from digitnet.runs.folder import RunFolder
from digitnet.runs.formats import read_summary
from digitnet.runs.writer import RunWriter
from digitnet.signals import Stop
from digitnet.training import distributed, meter
from digitnet.training.distributed import SINGLE_PROCESS, ProcessGroup
from digitnet.training.loop import fit
from digitnet.training.record import EpochRecord
from digitnet.training.state import TrainState


def pretend(monkeypatch: pytest.MonkeyPatch, rank: int, size: int = 2) -> None:
    for key, value in {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29511")
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")  # as the command line does, and leaves it
    monkeypatch.setattr(ProcessGroup, "reports_error", lambda self: True)


def test_rank_and_size_come_from_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distributed.current_group() is SINGLE_PROCESS
    pretend(monkeypatch, 1, 4)
    assert distributed.current_group() == ProcessGroup(1, 4, 1, 4)
    monkeypatch.delenv("MASTER_ADDR")  # set by others than torchrun
    assert distributed.current_group() is SINGLE_PROCESS


GROUP = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29511"}
OUT = "start with torchrun, or, to train in one process, unset RANK"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": ""}, "RANK='' in the environment: not a number of processes"),
        ({"RANK": "x"}, "RANK='x' in the environment: not a number of processes"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE='-2' in the environment: not a number of processes"),
        ({"LOCAL_RANK": "²"}, "LOCAL_RANK='²' in the environment: not a number of processes"),
        (
            {"RANK": "2"},
            "RANK=2 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=29511 in the environment: "
            "no process has these numbers",
        ),
        (
            {"LOCAL_RANK": "1"},
            "RANK=0 WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=localhost MASTER_PORT=29511 in the environment: "
            "no process has these numbers",
        ),
        (
            {"MASTER_PORT": None},
            "RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost in the environment, and MASTER_PORT is not a port's number",
        ),
    ],
)
def test_variables_of_torchrun_that_describe_no_process(
    command: Command, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], message: str
) -> None:
    for key, value in (GROUP | changes).items():
        if value is None:
            monkeypatch.delenv(key, raising=False)
        else:
            monkeypatch.setenv(key, value)
    for arguments in (["data=digits"], ["--version"], ["compare", "x"], ["resume", "x"]):
        assert command(*arguments) == Outcome(2, "", f"error: {message}; {OUT}\n")
    assert not Path("outputs").exists()


def test_what_is_waited_for_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A process that only variables left behind make one of two waits for the other; see where it is given up."""
    for key, value in GROUP.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
    monkeypatch.setattr(distributed, "WAITING_SECONDS", 0.1)
    store = torch.distributed.HashStore()
    monkeypatch.setattr(distributed, "_shared_store", lambda timeout: store)
    other = threading.Timer(1.0, lambda: store.add("started", 1))
    other.start()
    assert distributed.current_group()._gathered() is store
    told = (
        "waiting up to 10 minutes for another process of this run "
        "(RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=29511);\nto train in one process: unset RANK\n"
    )
    assert capsys.readouterr().err == told

    monkeypatch.setenv("RANK", "1")  # rank 0 is there, and tells it

    def start_late() -> None:
        time.sleep(0.5)
        store.add("started", 1)

    store = torch.distributed.HashStore()
    other = threading.Thread(target=start_late)
    other.start()
    assert distributed.current_group()._gathered() is store
    other.join()
    assert capsys.readouterr().err == ""


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
def test_commands_that_refuse_torchrun(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], what: str
) -> None:
    write(Path("sweep/sweep.json"), "{}")
    pretend(monkeypatch, 0)
    message = f"error: {what} does not run under torchrun, which started 2 processes; start it without\n"
    assert command(*arguments) == Outcome(2, "", message)


def test_more_threads_than_cores_is_an_error() -> None:
    cores = available_cores()
    plural = f"{cores} core{'' if cores == 1 else 's'}"
    with pytest.raises(ConfigError) as caught:
        build_components(load_config([*TINY, "trainer.threads=1"]), group=ProcessGroup(0, cores + 1, 0, cores + 1))
    assert str(caught.value) == f"trainer.threads=1 in each of {cores + 1} processes: this machine has {plural}"


def test_batch_normalization_on_several_cpu_processes_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        build_components(load_config([*TINY, "model=fastnet", "device=cpu"]), group=ProcessGroup(0, 2))
    assert str(caught.value) == (
        "model=fastnet: its batch normalization would see only a part of each batch, because PyTorch "
        "synchronizes it on GPUs only; start without torchrun"
    )


def test_process_that_ends_during_a_resumed_run_is_named(
    trained: Trained, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(*TINY, "trainer.epochs=1", to="run")

    def closed(*_: object) -> None:
        raise RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:41532")

    pretend(monkeypatch, 0)
    monkeypatch.setattr(ProcessGroup, "initialized", lambda self, device, stop, force_exit: contextlib.nullcontext())
    monkeypatch.setattr(ProcessGroup, "wrap", lambda self, model, device, unused: model)
    monkeypatch.setattr(ProcessGroup, "combine", closed)
    done = command("resume", "run", "trainer.epochs=2")
    error = (
        "another process of this run has ended (rank 0 noticed); checkpoints/last.pt is of step 45;\n"
        "to resume: digitnet resume run"
    )
    assert (done.code, done.err) == (1, f"error: {error}\n")
    assert read_summary(Path("run/summary.json")).error == error


def test_signal_does_not_cut_off_a_message(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which another process may have said meanwhile, and have ended."""
    monkeypatch.setattr(ProcessGroup, "reports_error", lambda self: os.kill(os.getpid(), signal.SIGTERM) is None)
    found = []
    with contextlib.suppress(KeyboardInterrupt):
        found.append(command("trainer.epocs=3"))
    assert found == [Outcome(2, "", "error: no key 'trainer.epocs' … did you mean 'trainer.epochs'?\n")]


class InitializedError(Exception):
    """The block was entered: a test without such devices gets no further."""


def initialize(group: ProcessGroup, device: str, error: Exception | None = None) -> None:
    with group.initialized(torch.device(device), Stop(), print):
        raise error or InitializedError


def test_more_processes_than_gpus_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError) as caught:
        initialize(ProcessGroup(0, 2, 0, 2), "cuda")
    assert str(caught.value) == (
        "torchrun: 2 processes, and this machine has 1 GPU; start it with --nproc-per-node=1, or set device=cpu"
    )
    with pytest.raises(ConfigError) as caught:
        initialize(ProcessGroup(0, 2, 0, 2), "mps")
    assert str(caught.value) == "device=mps: a machine has only one; start without torchrun, or set device=cpu"


def test_each_process_of_a_machine_uses_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Any] = []
    store = torch.distributed.HashStore()
    store.add("started", 3)  # the others
    monkeypatch.setattr(distributed, "_shared_store", lambda timeout: store)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda backend, **more: chosen.extend([backend, more["rank"], more["world_size"], more["device_id"]]),
    )
    with pytest.raises(InitializedError):
        initialize(ProcessGroup(3, 4, 1, 2), "cuda")
    assert chosen == [1, "nccl", 3, 4, torch.device("cuda", 1)]

    with pytest.raises(DistributedError, match=r"another process of this run has ended \(rank 3 noticed\)"):
        initialize(ProcessGroup(3, 4, 1, 2), "cuda", RuntimeError("NCCL error: remote process exited"))


def test_processes_differ_only_in_dropout(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """When they start, and when they resume from what rank 0 has left."""
    monkeypatch.setattr(ProcessGroup, "wrap", lambda self, model, device, unused: model)
    config = load_config([*TINY, "model=lenet5", "device=cpu"])
    first, second = build_components(config, group=ProcessGroup(0, 2)), None
    streams = [torch.rand(3)]
    second = build_components(config, group=ProcessGroup(1, 2))
    streams.append(torch.rand(3))
    assert torch.equal(first.state.generator.get_state(), second.state.generator.get_state())
    for ours, theirs in zip(first.state.model.parameters(), second.state.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)

    trained(*TINY, "device=cpu", to="run")
    for components in (first, second):
        folder = RunFolder(Path("run"))
        restore._restore(components, RunWriter(folder, folder.read_summary(), config))
        streams.append(torch.rand(3))
    assert len({tuple(stream.tolist()) for stream in streams}) == 4


def test_all_processes_check_the_losses_when_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that alone found that the run diverges would be a process that has ended, to the others."""

    class WithOther(ProcessGroup):
        def combine(self, row: Tensor, *flags: bool) -> tuple[Tensor, list[bool]]:
            assert flags == (False, False)
            return row, [False, True]

    monkeypatch.setattr(meter, "CHECK_SECONDS", 1000.0)
    monkeypatch.setattr(meter, "CHUNK", 64)
    digits = load_digits(enlarge_to=1437)
    model = LeNet5()
    state = TrainState(model, torch.optim.SGD(model.parameters(), lr=1e30), torch.Generator())
    records: Iterator[EpochRecord] = fit(
        state,
        digits.train[:640],
        digits.test[:50],
        epochs=1,
        batch_size=32,
        schedule=schedules.constant,
        group=WithOther(),
    )
    with pytest.raises(DivergedError):
        next(records)
    assert state.steps == 2


def test_rank_0_prints_the_error_or_another_after_a_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in GROUP.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(distributed, "RANK_0_SECONDS", 0.1)
    assert ProcessGroup(1, 2).reports_error()  # nothing listens there
    monkeypatch.setattr(distributed, "_check_listening", lambda: None)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2]):
        store = torch.distributed.HashStore()
        monkeypatch.setattr(distributed, "_shared_store", lambda timeout, store=store: store)
        assert [ProcessGroup(rank, 3).reports_error() for rank in order] == [True, False, False][: len(order)]

    waiting = torch.distributed.HashStore()
    monkeypatch.setattr(distributed, "RANK_0_SECONDS", 60.0)
    monkeypatch.setattr(distributed, "_shared_store", lambda timeout: waiting)
    answers: list[bool] = []
    other = threading.Thread(target=lambda: answers.append(ProcessGroup(1, 2).reports_error()))
    other.start()
    time.sleep(0.1)  # it comes first, and waits
    assert ProcessGroup(0, 2).reports_error()
    other.join()
    assert answers == [False]

    def gone(timeout: timedelta) -> None:
        raise RuntimeError("torchrun was killed")

    monkeypatch.setattr(distributed, "_shared_store", gone)
    assert ProcessGroup(1, 2).reports_error()


def test_only_errors_about_other_ranks_become_distributed_errors() -> None:
    for text, known in (
        ("[gloo] Connection closed by peer [127.0.0.1]", DistributedError),
        ("NCCL error: remote process exited or there was a network error", DistributedError),
        ("shapes differ", RuntimeError),
        ("NCCL error: invalid argument", RuntimeError),
        ("[enforce fail at gloo/allreduce.cc:15] nbytes", RuntimeError),
    ):
        with (
            pytest.raises(RuntimeError if known is RuntimeError else DistributedError) as caught,
            ProcessGroup(1, 2).translated_errors(),
        ):
            raise RuntimeError(text)
        assert type(caught.value) is known


def test_finished_run_is_reported_by_rank_0_only(
    trained: Trained, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(*TINY, "trainer.epochs=1", to="run")
    for rank, answer in ((0, "run: finished; for more: digitnet resume run trainer.epochs=N\n"), (1, "")):
        pretend(monkeypatch, rank)
        assert command("resume", "run") == Outcome(0, answer, "")
