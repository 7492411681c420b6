"""Data-parallel training of one network in several processes, started by torchrun, with torch.distributed."""

import contextlib
import datetime
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from digitnet.errors import ConfigError, DistributedError
from digitnet.signals import Stop
from digitnet.text import printable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.distributed.distributed_c10d import PrefixStore

TIMEOUT = datetime.timedelta(minutes=10)  # for another process that may be loading data or writing to a slow disk
RANK_0_SECONDS = 3.0  # how long the other ranks wait for rank 0 to report an error
EXIT_SECONDS = 15.0  # from a signal to a forced exit; torchrun kills after 30
WAITING_SECONDS = 10.0  # then a line says what is waited for
# Parts of the messages of gloo and NCCL when another process is gone; their own names are in the messages of any error.
PEER_GONE = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Remote peer closed",
    "Broken pipe",
    "Timed out waiting",
    "pair closure",
    "remote process exit",
    "communicator was aborted",
)
ENVIRONMENT = {
    "RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
}  # torchrun's variables, and defaults
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
ADVICE = "start with torchrun, or, to train in one process, unset RANK"


@dataclass(frozen=True)
class ProcessGroup:
    """This process's `rank` of `size`; `local_rank` of the `local_size` processes on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    def part(self, batch: "Tensor") -> "Tensor":
        """This process's images of a batch (B, ...): every `size`-th. An epoch's last batch may have none for it."""
        return batch if self.size == 1 else batch[self.rank :: self.size]

    def parts(self, images: "Tensor", batch_size: int) -> "Tensor":
        """`part` of each batch of `images` (N, ...)."""
        if self.size == 1:
            return images
        import torch

        return torch.cat([self.part(batch) for batch in images.split(batch_size)])

    def combine(self, row: "Tensor", *flags: bool) -> tuple["Tensor", list[bool]]:
        """(sums of `row` over all processes, but of its last number the minimum; each flag if any process has it)."""
        if self.size == 1:
            return row, list(flags)
        import torch

        both = torch.cat([row, row.new_tensor(flags)])
        rows = [torch.empty_like(both) for _ in range(self.size)]
        torch.distributed.all_gather(rows, both)
        gathered = torch.stack(rows)
        combined = gathered.sum(0)
        combined[len(row) - 1] = gathered[:, len(row) - 1].min()
        return combined[: len(row)], combined[len(row) :].bool().tolist()

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value."""
        if self.size == 1:
            return value
        import torch

        values = [value]
        torch.distributed.broadcast_object_list(values)
        return values[0]

    def wrap(self, model: "nn.Module", device: "torch.device", unused: bool = False) -> "nn.Module":
        """`model` in DistributedDataParallel, which averages gradients over the processes; it shares the weights.

        `unused`: some weights may get no gradient in a step; finding them costs time.
        """
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        devices = None if device.type == "cpu" else [self.local_rank]
        return DistributedDataParallel(model, devices, find_unused_parameters=unused)

    @contextlib.contextmanager
    def initialized(self, device: "torch.device", stop: Stop, force_exit: Callable[[], None]) -> Iterator[None]:
        """In this block the process group is initialized; a single process needs none.

        `force_exit` is called, in a thread, if the block has not ended EXIT_SECONDS after a signal, because it waits
        for a process that is gone. Raises ConfigError if the machine has too few devices, DistributedError if another
        process is gone.
        """
        if self.size == 1:
            yield
            return
        import torch
        from torch.distributed.distributed_c10d import PrefixStore

        self._choose_device(device)
        with stop.exit_deadline(EXIT_SECONDS, force_exit), self.translated_errors():
            store = self._gathered()
            torch.distributed.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                timeout=TIMEOUT,
                store=PrefixStore("group", store),
                rank=self.rank,
                world_size=self.size,
                device_id=torch.device("cuda", self.local_rank) if device.type == "cuda" else None,
            )
            with warnings.catch_warnings():
                # 1x1 convolutions cause it: their weights have the same memory in two layouts. It costs a copy.
                warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
                yield
            torch.distributed.destroy_process_group()  # not after an error: it would wait for processes that are gone

    def _gathered(self) -> "PrefixStore":
        """The store of this run, when all its processes have come to it. Raises RuntimeError."""
        telling = threading.Timer(WAITING_SECONDS, _tell_what_is_waited_for)
        telling.daemon = True
        telling.start()
        try:
            store = _shared_store(TIMEOUT)
            if self.rank > 0:
                telling.cancel()  # rank 0, which is there, tells it
            store.add("started", 1)
            while store.add("started", 0) < self.size:
                time.sleep(0.02)  # Python handles signals here, but not inside init_process_group
            return store
        finally:
            telling.cancel()

    def _choose_device(self, device: "torch.device") -> None:
        """Select this process's GPU, if `device` is CUDA. Raises ConfigError if there are too few devices."""
        import torch

        if device.type == "cuda":
            if (count := torch.cuda.device_count()) < self.local_size:
                have = f"this machine has {count} GPU{'' if count == 1 else 's'}"
                raise ConfigError(
                    f"torchrun: {self.local_size} processes, and {have}; start it with --nproc-per-node={count}, "
                    "or set device=cpu"
                )
            torch.cuda.set_device(self.local_rank)
        elif device.type == "mps":
            raise ConfigError("device=mps: a machine has only one; start without torchrun, or set device=cpu")

    def reports_error(self) -> bool:
        """Whether this process reports why the run failed: rank 0, or the first other rank if rank 0 does not."""
        if self.size == 1:
            return True
        try:
            if self.rank > 0:
                _check_listening()
            store = _shared_store(datetime.timedelta(seconds=RANK_0_SECONDS))
            started = time.monotonic()
            while self.rank > 0 and time.monotonic() < started + RANK_0_SECONDS and not store.check(["reported"]):
                time.sleep(0.02)
            return bool(store.add("reported", 1) == 1)
        except (OSError, RuntimeError):  # torchrun has ended: report rather twice than not at all
            return True

    @contextlib.contextmanager
    def translated_errors(self) -> Iterator[None]:
        """In this block, convert errors whose message means that another process is gone to DistributedError."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(words in str(error) for words in PEER_GONE):
                raise
            raise DistributedError(f"another process of this run has ended (rank {self.rank} noticed)") from error


SINGLE_PROCESS = ProcessGroup()


def current_group() -> ProcessGroup:
    """The process group that torchrun describes in environment variables; without torchrun, SINGLE_PROCESS.

    Raises ConfigError, with the variables, if they describe none: other programs and shells leave them behind.
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return SINGLE_PROCESS
    number = {}
    for key, default in ENVIRONMENT.items():
        text = os.environ.get(key, default)
        if not text.isdecimal():
            raise ConfigError(f"{key}={text!r} in the environment: not a number of processes; {ADVICE}")
        number[key] = int(text)
    group = ProcessGroup(*number.values())
    if not (group.rank < group.size and group.local_rank < group.local_size <= group.size):
        raise ConfigError(f"{_described()} in the environment: no process has these numbers; {ADVICE}")
    if group.size > 1 and not os.environ.get("MASTER_PORT", "").isdecimal():
        raise ConfigError(f"{_described()} in the environment, and MASTER_PORT is not a port's number; {ADVICE}")
    return group


def _described() -> str:
    """`RANK=0 WORLD_SIZE=2 …`: torchrun's variables that are set."""
    return " ".join(f"{key}={os.environ[key]}" for key in (*ENVIRONMENT, *ADDRESS) if key in os.environ)


def _tell_what_is_waited_for() -> None:
    minutes = int(TIMEOUT.total_seconds() / 60)
    print(
        f"waiting up to {minutes} minutes for another process of this run ({printable(_described())});\n"
        "to train in one process: unset RANK",
        file=sys.stderr,
        flush=True,
    )


def refuse_under_torchrun(what: str) -> None:
    """Raise ConfigError if torchrun started several processes; the message begins with `what`."""
    if (group := current_group()).size > 1:
        raise ConfigError(f"{what} does not run under torchrun, which started {group.size} processes; start it without")


def _shared_store(timeout: datetime.timedelta) -> "PrefixStore":
    """The key-value store that the processes of this torchrun (of this restart) share. Raises RuntimeError."""
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", timeout=timeout))
    return PrefixStore(f"digitnet/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _check_listening() -> None:
    """Raise OSError if no process listens where the store should be: PyTorch's compiled code would print its stack."""
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    socket.create_connection(address, RANK_0_SECONDS).close()
