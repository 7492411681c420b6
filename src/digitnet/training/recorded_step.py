"""A training step recorded as a CUDA graph: one launch instead of a hundred, so that the CPU keeps up with the GPU."""

import warnings

import torch
from torch import Tensor
from torch.optim import Optimizer

from digitnet.text import one_line
from digitnet.training.step import Step

WARMUP = 3  # steps: cuDNN chooses its kernels and the optimizer allocates its state in the first


class RecordedStep:
    """A `step` on a CUDA device, recorded for batches of `batch_size` and replayed from then on.

    The first full batches run eagerly, on a separate stream, as recording requires. Then the step is recorded, which
    computes nothing, and each batch is copied to the memory that the recorded kernels read. A batch of another size
    runs eagerly. Values that change between steps must be on the device, also the learning rate (see
    `build.optimizer`). If the step cannot be recorded, for instance because it makes the CPU wait for the GPU,
    `refusal` has the reason, and all steps run eagerly.

    PyTorch's documentation, "CUDA semantics", section "CUDA Graphs: whole-network capture".
    """

    def __init__(self, step: Step, optimizer: Optimizer, batch_size: int) -> None:
        self.step, self.optimizer, self.batch_size = step, optimizer, batch_size
        self.refusal: str | None = None
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def recorded(self) -> bool:
        return self._graph is not None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.refusal is not None or len(images) != self.batch_size:
            return self.step(images, labels)
        if self._graph is None:
            if self._done < WARMUP:
                return self._warm_up(images, labels)
            self._graph = self._record(images, labels)
            if self._graph is None:
                self.optimizer.zero_grad()  # the failed recording may leave gradients
                return self.step(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._logits.clone()  # the next replay overwrites them

    def _warm_up(self, images: Tensor, labels: Tensor) -> Tensor:
        """Run a step eagerly; the last of them checks whether the step can be recorded."""
        self._done += 1
        last = self._done == WARMUP
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(main)
        with torch.cuda.stream(side), warnings.catch_warnings(record=True, action="always") as caught:
            if last:
                torch.cuda.set_sync_debug_mode("warn")
            try:
                logits = self.step(images, labels)
            finally:
                if last:
                    torch.cuda.set_sync_debug_mode("default")
        main.wait_stream(side)
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if any(not isinstance(rate, Tensor) or rate.device != images.device for rate in rates):
            self.refusal = "the optimizer's learning rate is not on the device"
        for warning in caught:
            if "called a synchronizing" in str(warning.message):
                self.refusal = "the network makes the CPU wait for the GPU, as .item() does"
        return logits

    def _record(self, images: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph | None:
        self._images, self._labels = images.clone(), labels.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._logits = self.step(self._images, self._labels)
        except RuntimeError as error:
            cause: BaseException = error  # the first of the chain has the reason
            while cause.__context__ is not None:
                cause = cause.__context__
            self.refusal = one_line(cause)
            return None
        return graph
