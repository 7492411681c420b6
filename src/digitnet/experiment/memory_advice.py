"""What to do when a step or the validation needs more memory than there is."""

from collections.abc import Iterator

import torch

from digitnet.errors import DigitnetError
from digitnet.experiment.components import Components
from digitnet.training.record import EpochRecord
from digitnet.training.step import largest_batch

OUT_OF_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "ALLOC_FAILED",
)  # parts of PyTorch's messages, on CPUs and GPUs


def with_memory_advice(records: Iterator[EpochRecord], components: Components) -> Iterator[EpochRecord]:
    """Yield the records; raises DigitnetError if memory does not suffice, with a batch size that fits."""
    try:
        yield from records
        return
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)):
            raise
    # Outside of the `except` block, where the exception no longer keeps the step's activations in memory.
    model, trainer, train = components.state.model, components.config.trainer, components.data.train
    device = train.images.device.type
    if not model.training:
        raise DigitnetError(f"the validation needs more memory than {device} has left, whatever trainer.batch_size is")
    if components.group.size > 1:  # all processes would have to take part in a step
        advice = "lower it"
    elif fitting := largest_batch(components.step, train, trainer.batch_size):
        advice = f"trainer.batch_size={fitting} fits"
    else:
        advice = "not even a batch of one image fits"
    raise DigitnetError(
        f"trainer.batch_size={trainer.batch_size}: a step needs more memory than {device} has; {advice}"
    )
