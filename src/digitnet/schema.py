"""The configuration's types, ranges and choices. Its defaults live in conf/, its meaning in build.py."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
DropProbability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e30)]  # float32 ends at 3.4e38
NonNegative = Annotated[float, Field(ge=0, le=1e30)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Init = Literal["glorot_keras2016", "glorot"]
Validation = Literal["test"] | Count


class Group(BaseModel):
    """No key that the schema does not know, and no silent conversion: "1" is not a number, nor is nan."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class LeNet5(Group):
    name: Literal["lenet5"]
    dropout: DropProbability
    init: Init


class AllConv(Group):
    name: Literal["allconv"]
    init: Init
    final_relu: bool


class CustomModel(Group):
    name: Literal["custom"]
    target: str
    kwargs: dict[str, Any] | None


class NoDistortion(Group):
    name: Literal["none"]


class Distort(Group):
    name: Literal["distort"]
    rotation_deg: Annotated[float, Field(ge=0, le=180)]
    shift: Annotated[float, Field(ge=0, le=0.5)]
    scale: Fraction
    shear_deg: Annotated[float, Field(ge=0, le=60)]
    squeeze: Fraction
    elastic_alpha: Annotated[float, Field(ge=0, le=1000)]
    elastic_sigma: Annotated[float, Field(gt=0, le=14)]
    warmup_epochs: Annotated[int, Field(ge=0)]


class SGD(Group):
    name: Literal["sgd"]
    lr: Positive
    momentum: Beta
    nesterov: bool
    weight_decay: NonNegative

    @model_validator(mode="after")
    def _check(self) -> "SGD":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=true needs a momentum; set optimizer.momentum=0.9")
        return self


class RMSprop(Group):
    name: Literal["rmsprop"]
    lr: Positive
    alpha: Beta
    eps: Positive
    momentum: Beta
    weight_decay: NonNegative


class Adam(Group):
    name: Literal["adam", "adamw"]
    lr: Positive
    betas: Annotated[list[Beta], Field(min_length=2, max_length=2)]
    eps: Positive
    weight_decay: NonNegative


class Phase(Group):
    epochs: Count
    factor: Positive


class StepSchedule(Group):
    name: Literal["step"]
    phases: Annotated[list[Phase], Field(min_length=1)]


class ConstantSchedule(Group):
    name: Literal["constant"]
    epochs: Count


class CosineSchedule(Group):
    name: Literal["cosine"]
    epochs: Count
    final_factor: Fraction


class OneCycleSchedule(Group):
    name: Literal["onecycle"]
    epochs: Count
    warmup_fraction: Annotated[float, Field(gt=0, lt=1)]
    start_factor: Fraction
    final_factor: Fraction


class IdxData(Group):
    name: Literal["mnist", "fashion_mnist", "kmnist"]
    root: str
    validation: Validation


class DigitsData(Group):
    name: Literal["digits"]
    enlarge_to: Count
    validation: Validation


class AutoData(Group):
    name: Literal["auto"]
    root: str
    enlarge_to: Count
    validation: Validation


class FolderData(Group):
    name: Literal["folder"]
    root: str
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    invert: bool
    validation: Validation


class Device(Group):
    name: Literal["auto", "cpu", "cuda", "mps"]


class Logger(Group):
    pictures: bool
    predictions: bool


class Trainer(Group):
    epochs: Count | None
    batch_size: Count
    precision: Literal["fp32", "bf16"]
    threads: Annotated[int, Field(ge=1, le=1024)] | None


class Config(Group):
    """A whole experiment."""

    model: Annotated[LeNet5 | AllConv | CustomModel, Field(discriminator="name")]
    aug: Annotated[NoDistortion | Distort, Field(discriminator="name")]
    optimizer: Annotated[SGD | RMSprop | Adam, Field(discriminator="name")]
    schedule: Annotated[
        StepSchedule | ConstantSchedule | CosineSchedule | OneCycleSchedule, Field(discriminator="name")
    ]
    data: Annotated[IdxData | DigitsData | AutoData | FolderData, Field(discriminator="name")]
    device: Device
    logger: Logger
    trainer: Trainer
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    init_from: str | None


def group_keys(group: str) -> dict[str, list[str]]:
    """The keys of each option of a group that comes in several kinds: {"none": ["name"], "distort": [...]}."""
    field = Config.model_fields.get(group)
    kinds = [kind for kind in get_args(field.annotation) if hasattr(kind, "model_fields")] if field else []
    return {
        option: list(kind.model_fields) for kind in kinds for option in get_args(kind.model_fields["name"].annotation)
    }
