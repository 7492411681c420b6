"""The base class of the configuration's types, and their ranges of numbers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
DropProbability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e30)]  # the largest float32 is 3.4e38
NonNegative = Annotated[float, Field(ge=0, le=1e30)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Threads = Annotated[int, Field(ge=1, le=1024)]


class Group(BaseModel):
    """The base class: unknown keys are errors, and values are not converted: neither "1" nor nan is a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
