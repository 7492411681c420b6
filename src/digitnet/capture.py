"""A training step as a CUDA graph: one launch, not a hundred, so that the processor does not hold the GPU back."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from digitnet.errors import one_line

Step = Callable[[Tensor, Tensor], Tensor]  # images (B, 1, 28, 28) and labels (B,) -> logits (B, classes)

WARMUP = 3  # steps: cuDNN chooses its kernels and the optimizer allocates its state in the first


class CapturedStep:
    """`step`, an update of a network on a CUDA device, captured for batches of `batch_size` and replayed from then on.

    The first whole batches are trained on eagerly, on a stream of their own, as capture requires. Then the step is
    recorded, which computes nothing, and each batch is copied to where the recorded kernels read it. A batch of
    another size is trained on eagerly. What changes from step to step must live on the device, the learning rate too
    (`build.optimizer` sees to that). A step that makes the processor wait for the GPU cannot be recorded: `refusal`
    says why, and all goes on eagerly.

    PyTorch's documentation, "CUDA semantics", section "CUDA Graphs: whole-network capture".
    """

    def __init__(self, step: Step, optimizer: Optimizer, batch_size: int) -> None:
        self.step, self.optimizer, self.batch_size = step, optimizer, batch_size
        self.refusal: str | None = None
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.refusal is not None or len(images) != self.batch_size:
            return self.step(images, labels)
        if self._graph is None:
            if self._done < WARMUP:
                return self._warm_up(images, labels)
            try:
                self._capture(images, labels)
            except RuntimeError as error:
                return self._refuse(error, images, labels)
        assert self._graph is not None
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._logits.clone()  # the next replay writes over them

    def _warm_up(self, images: Tensor, labels: Tensor) -> Tensor:
        self._done += 1
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            if self._done == WARMUP:  # what waits for the GPU is better found here than in a recording, which it spoils
                with warnings.catch_warnings(action="ignore"):  # that this is a prototype, at its first use
                    torch.cuda.set_sync_debug_mode("error")
            try:
                logits: Tensor | RuntimeError = self.step(images, labels)
            except RuntimeError as error:
                logits = error
            finally:
                torch.cuda.set_sync_debug_mode("default")
        main.wait_stream(side)
        return self._refuse(logits, images, labels) if isinstance(logits, RuntimeError) else logits

    def _capture(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images.clone(), labels.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._logits = self.step(self._images, self._labels)
        self._graph = graph

    def _refuse(self, error: RuntimeError, images: Tensor, labels: Tensor) -> Tensor:
        self.refusal = one_line(error)
        self.optimizer.zero_grad()  # what a step that broke off left
        return self.step(images, labels)
