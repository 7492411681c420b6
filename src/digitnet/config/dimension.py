"""The values among which a search chooses for one key. Not in sweep_space.py, so that workers do not import Hydra."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Dimension:
    """The values of one key: `choices`, or an interval from `low` to `high`, both included.

    `log`: sampled uniformly in the logarithm. `whole`: integers only.
    """

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
        """The number of values; math.inf for an interval of floats."""
        if self.choices is not None:
            return len(self.choices)
        return self.high - self.low + 1 if self.whole else math.inf
