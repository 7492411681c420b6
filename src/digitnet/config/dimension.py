"""What a search may choose for one key. Apart from sweep_space.py so that the processes of a sweep need no Hydra."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Dimension:
    """What is searched of one key: among `choices`, or from `low` to `high`."""

    choices: list[str] | None = None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def bounds(self) -> list[str]:
        """The choices, or the two ends of the interval."""
        kind = int if self.whole else float
        return self.choices if self.choices is not None else [str(kind(self.low)), str(kind(self.high))]

    @property
    def size(self) -> float:
        """How many values there are."""
        if self.choices is not None:
            return len(self.choices)
        return self.high - self.low + 1 if self.whole else math.inf
