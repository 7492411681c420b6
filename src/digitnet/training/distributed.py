"""Several processes that train one network together, as torchrun starts them: torch.distributed's ranks."""

import contextlib
import datetime
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from digitnet.errors import ConfigError, DistributedError
from digitnet.signals import Stop

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.distributed.distributed_c10d import PrefixStore

PATIENCE = datetime.timedelta(minutes=10)  # with a rank that says nothing: one may load data, or write to a slow disk
FIRST_WORD = 3.0  # seconds that rank 0 has for it
LAST_RESORT = 15.0  # seconds after a signal; torchrun kills after 30
# What gloo and NCCL say where another rank is gone.
GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo", "NCCL", "Timed out waiting")


@dataclass(frozen=True)
class ProcessGroup:
    """This process among all: its `rank`, of `size`; `local` among the `local_size` of its machine."""

    rank: int = 0
    size: int = 1
    local: int = 0
    local_size: int = 1

    def part(self, batch: "Tensor") -> "Tensor":
        """This rank's images of a batch (B, ...): every `size`-th; of the last batch of an epoch there may be none."""
        return batch if self.size == 1 else batch[self.rank :: self.size]

    def parts(self, images: "Tensor", batch_size: int) -> "Tensor":
        """`part` of each of the batches that `images` (N, ...) are."""
        if self.size == 1:
            return images
        import torch

        return torch.cat([self.part(batch) for batch in images.split(batch_size)])

    def agree(self, row: "Tensor", *wishes: bool) -> tuple["Tensor", list[bool]]:
        """Sum `row` over the ranks; which of the wishes any of them has."""
        if self.size == 1:
            return row, list(wishes)
        import torch

        both = torch.cat([row, row.new_tensor(wishes)])
        torch.distributed.all_reduce(both)
        return both[: len(row)], both[len(row) :].bool().tolist()

    def first(self, value: Any) -> Any:
        """What rank 0 has there."""
        if self.size == 1:
            return value
        import torch

        values = [value]
        torch.distributed.broadcast_object_list(values)
        return values[0]

    def wrap(self, model: "nn.Module", device: "torch.device", unused: bool = False) -> "nn.Module":
        """The network as training calls it: gradients are means over the ranks. Its weights stay where they are.

        Some weights may be `unused` by a step, which costs time to find out.
        """
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        devices = None if device.type == "cpu" else [self.local]
        return DistributedDataParallel(model, devices, find_unused_parameters=unused)

    @contextlib.contextmanager
    def joined(self, device: "torch.device", stop: Stop, give_up: Callable[[], None]) -> Iterator[None]:
        """Be one of the process group in this block; alone, there is none.

        `give_up` is called, in a thread, when the block still goes on some time after a signal: it may wait for a rank
        that is gone. Raises ConfigError where the machine has too few devices, RankError where another rank is gone.
        """
        if self.size == 1:
            yield
            return
        import torch
        from torch.distributed.distributed_c10d import PrefixStore

        if device.type == "cuda":
            if (count := torch.cuda.device_count()) < self.local_size:
                have = f"this machine has {count} GPU{'' if count == 1 else 's'}"
                raise ConfigError(
                    f"torchrun: {self.local_size} processes, and {have}; start it with --nproc-per-node={count}, "
                    "or set device=cpu"
                )
            torch.cuda.set_device(self.local)
        elif device.type == "mps":
            raise ConfigError("device=mps: there is one in a machine; leave torchrun out, or set device=cpu")
        with stop.last_resort(LAST_RESORT, give_up), self.noticing():
            store = _meeting_place(PATIENCE)
            store.add("here", 1)
            while store.add("here", 0) < self.size:
                time.sleep(0.02)  # here, where signals are heard, and not in what follows
            torch.distributed.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                timeout=PATIENCE,
                store=PrefixStore("group", store),
                rank=self.rank,
                world_size=self.size,
                device_id=torch.device("cuda", self.local) if device.type == "cuda" else None,
            )
            with warnings.catch_warnings():
                # Of 1x1 convolutions, whose memory lies alike in more ways than one; it costs a copy.
                warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
                yield
            torch.distributed.destroy_process_group()  # where all went well: else it would wait for those that are gone

    def speaks(self) -> bool:
        """Whether this rank is to say why the run failed, of which all may know: rank 0, or one of those that are left
        if it keeps silent.
        """
        if self.size == 1:
            return True
        try:
            store = _meeting_place(datetime.timedelta(seconds=FIRST_WORD))
            begun = time.monotonic()
            while self.rank > 0 and time.monotonic() < begun + FIRST_WORD and not store.check(["said"]):
                time.sleep(0.02)
            return bool(store.add("said", 1) == 1)
        except RuntimeError:  # torchrun is gone: better twice than not at all
            return True

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """What comes out of this block because another rank is gone is a RankError."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(words in str(error) for words in GONE):
                raise
            raise DistributedError(f"another process of this run has ended (rank {self.rank} noticed)") from error


SINGLE_PROCESS = ProcessGroup()


def current_group() -> ProcessGroup:
    """As torchrun says it in the environment."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return SINGLE_PROCESS
    number = {key: int(os.environ.get(key, default)) for key, default in DEFAULTS.items()}
    return ProcessGroup(number["RANK"], number["WORLD_SIZE"], number["LOCAL_RANK"], number["LOCAL_WORLD_SIZE"])


def refuse_under_torchrun(what: str) -> None:
    """Raise ConfigError under torchrun."""
    if (group := current_group()).size > 1:
        raise ConfigError(f"{what} is not for torchrun, which started {group.size} processes; start it without")


def _meeting_place(patience: datetime.timedelta) -> "PrefixStore":
    """Keys and values that the processes of this start by torchrun share. Raises RuntimeError."""
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", timeout=patience))
    return PrefixStore(f"digitnet/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


DEFAULTS = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
