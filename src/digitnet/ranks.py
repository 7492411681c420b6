"""Several processes that train one network together, as torchrun starts them: torch.distributed's ranks."""

import contextlib
import datetime
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from digitnet.errors import ConfigError, RankError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PATIENCE = datetime.timedelta(minutes=10)  # with a rank that says nothing: one may load data, or write to a slow disk
# What gloo and NCCL say where another rank is gone.
GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo", "NCCL", "Timed out waiting")


@dataclass(frozen=True)
class Ranks:
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

    def agree(self, row: "Tensor", wish: bool) -> tuple["Tensor", bool]:
        """Sum `row` (4,) over the ranks, but for its last number, which all have alike; whether any of them wishes."""
        if self.size == 1:
            return row, wish
        import torch

        both = torch.cat([row, row.new_tensor([wish])])
        torch.distributed.all_reduce(both)
        both[3] /= self.size
        return both[:4], bool(both[4])

    def first(self, value: Any) -> Any:
        """What rank 0 has there."""
        if self.size == 1:
            return value
        import torch

        values = [value]
        torch.distributed.broadcast_object_list(values)
        return values[0]

    def wrap(self, model: "nn.Module", device: "torch.device") -> "nn.Module":
        """The network as training calls it: gradients are means over the ranks. Its weights stay where they are."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model, device_ids=None if device.type == "cpu" else [self.local])

    @contextlib.contextmanager
    def joined(self, device: "torch.device") -> Iterator[None]:
        """Be one of the process group in this block; alone, there is none.

        Raises ConfigError where the machine has too few devices.
        """
        if self.size == 1:
            yield
            return
        import torch

        if not torch.distributed.is_available():
            raise ConfigError("torchrun: this build of PyTorch has no torch.distributed; install another one")
        if device.type == "cuda":
            if (count := torch.cuda.device_count()) < self.local_size:
                raise ConfigError(
                    f"torchrun: {self.local_size} processes on a machine with {count} GPUs; "
                    f"start it with --nproc-per-node={count}, or set device=cpu"
                )
            torch.cuda.set_device(self.local)
        elif device.type == "mps":
            raise ConfigError("device=mps: there is one in a machine; leave torchrun out, or set device=cpu")
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        with warnings.catch_warnings():
            # Of 1x1 convolutions, whose memory lies alike in more ways than one; it costs a copy.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
            yield
        torch.distributed.destroy_process_group()  # where all went well: else it would wait for those that are gone

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """What comes out of this block because another rank is gone is a RankError."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(words in str(error) for words in GONE):
                raise
            raise RankError(f"another process of this run has ended (rank {self.rank} noticed)") from error


ALONE = Ranks()


def here() -> Ranks:
    """As torchrun says it in the environment."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return ALONE
    number = {key: int(os.environ.get(key, default)) for key, default in DEFAULTS.items()}
    return Ranks(number["RANK"], number["WORLD_SIZE"], number["LOCAL_RANK"], number["LOCAL_WORLD_SIZE"])


def check_alone(what: str) -> None:
    """Raise ConfigError under torchrun."""
    if (group := here()).size > 1:
        raise ConfigError(f"{what} is not for torchrun, which started {group.size} processes; start it without")


DEFAULTS = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
