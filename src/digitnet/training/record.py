"""The measurements of an epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochRecord:
    """One row of metrics.csv. Losses are means over images, in nats; accuracies are fractions.

    `train_*` is measured while training (dropout on, distorted images, weights changing), `val_*` afterwards on the
    whole validation split. `lr` is that of the epoch's first step. `epoch_seconds` includes the validation,
    `images_per_second` does not.
    """

    epoch: int
    lr: float
    train_loss: float
    train_acc: float
    val_loss: float
    val_acc: float
    epoch_seconds: float
    images_per_second: float

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "EpochRecord":
        """From a row of metrics.csv or of a checkpoint. Raises ValueError, KeyError or TypeError if it is malformed."""
        return cls(int(fields["epoch"]), **{key: float(value) for key, value in fields.items() if key != "epoch"})
