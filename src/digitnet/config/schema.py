"""The configuration's types, ranges and choices. Defaults are in conf/; experiment/build.py builds objects from it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from digitnet.config.data_schema import DataConfig
from digitnet.config.fields import Beta, Count, DropProbability, Fraction, Group, NonNegative, Positive, Threads
from digitnet.config.tracker_schema import TrackerConfig

Init = Literal["glorot_keras2016", "glorot"]

GROUPS = (  # with options
    "model", "aug", "loss", "optimizer", "schedule", "data", "device", "logger", "tracker", "debug",
    "experiment", "sweep",
)  # fmt: skip
LAUNCHER = "hydra/launcher"  # a group of Hydra, with options of digitnet
SEVERAL = ("tracker",)  # groups of which several options can be chosen
PRESETS = ("experiment", "sweep")  # groups whose options set keys of other groups, and have no keys of their own
SECTIONS = ("trainer", "checkpoint")  # groups of keys without options


class LeNet5Config(Group):
    name: Literal["lenet5"]
    dropout: DropProbability
    init: Init


class AllConvConfig(Group):
    name: Literal["allconv"]
    init: Init
    final_relu: bool


class FastNetConfig(Group):
    name: Literal["fastnet"]
    init: Init


class OriginalLeNet5Config(Group):
    name: Literal["lenet5_1998"]
    output: Literal["codes", "units"]
    init: Literal["lush", "paper"]


class CustomModelConfig(Group):
    name: Literal["custom"]
    target: str
    kwargs: dict[str, Any] | None


class NoDistortionConfig(Group):
    name: Literal["none"]


class DistortConfig(Group):
    name: Literal["distort"]
    rotation_deg: Annotated[float, Field(ge=0, le=180)]
    shift: Annotated[float, Field(ge=0, le=0.5)]
    scale: Fraction
    shear_deg: Annotated[float, Field(ge=0, le=60)]
    squeeze: Fraction
    elastic_alpha: Annotated[float, Field(ge=0, le=1000)]
    elastic_sigma: Annotated[float, Field(gt=0, le=14)]
    warmup_epochs: Annotated[int, Field(ge=0)]


class CrossEntropyConfig(Group):
    name: Literal["cross_entropy"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class MapLossConfig(Group):
    name: Literal["map"]
    j: Annotated[float, Field(ge=-1000, le=1000)]


class SquaredErrorConfig(Group):
    name: Literal["mse"]


class SGDConfig(Group):
    name: Literal["sgd"]
    lr: Positive
    momentum: Beta
    nesterov: bool
    weight_decay: NonNegative
    fused: bool | None


class RMSpropConfig(Group):
    name: Literal["rmsprop"]
    lr: Positive
    alpha: Beta
    eps: Positive
    momentum: Beta
    weight_decay: NonNegative


class AdamConfig(Group):
    name: Literal["adam", "adamw"]
    lr: Positive
    betas: Annotated[list[Beta], Field(min_length=2, max_length=2)]
    eps: Positive
    weight_decay: NonNegative
    fused: bool | None


class SDLMConfig(Group):
    name: Literal["sdlm"]
    lr: Positive
    mu: Positive
    images: Count


class PhaseConfig(Group):
    epochs: Count
    factor: Positive


class StepScheduleConfig(Group):
    name: Literal["step"]
    phases: Annotated[list[PhaseConfig], Field(min_length=1)]


class ConstantScheduleConfig(Group):
    name: Literal["constant"]
    epochs: Count


class CosineScheduleConfig(Group):
    name: Literal["cosine"]
    epochs: Count
    final_factor: Fraction


class OneCycleScheduleConfig(Group):
    name: Literal["onecycle"]
    epochs: Count
    warmup_fraction: Annotated[float, Field(gt=0, lt=1)]
    start_factor: Fraction
    final_factor: Fraction


class TrapezoidScheduleConfig(Group):
    name: Literal["trapezoid"]
    epochs: Count
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)]
    decay_fraction: Fraction
    start_factor: Fraction
    final_factor: Fraction


class DeviceConfig(Group):
    name: Literal["auto", "cpu", "cuda", "mps"]


class LoggerConfig(Group):
    pictures: bool
    preview: bool | None
    predictions: bool


class NoDebugConfig(Group):
    name: Literal["none"]


class FastDebugConfig(Group):
    name: Literal["fast"]
    epochs: Count
    batches: Count


class OverfitDebugConfig(Group):
    name: Literal["overfit"]
    epochs: Count


class ProfileDebugConfig(Group):
    name: Literal["profile"]
    batches: Count


class NanDebugConfig(Group):
    name: Literal["nan"]


class TrainerConfig(Group):
    epochs: Count | None
    batch_size: Count
    average: Count | None
    clip_norm: Positive | None
    early_stop: Count | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    precision: Literal["fp32", "bf16"]
    threads: Threads | None
    channels_last: bool | None
    reuse_memory: bool
    cuda_graph: bool | None
    plateau_epochs: Count | None


class CheckpointConfig(Group):
    every_epochs: Count | None
    every_minutes: Positive | None
    keep: Annotated[int, Field(ge=0)] | None


ModelConfig = Annotated[
    LeNet5Config | OriginalLeNet5Config | AllConvConfig | FastNetConfig | CustomModelConfig, Field(discriminator="name")
]
AugConfig = Annotated[NoDistortionConfig | DistortConfig, Field(discriminator="name")]
LossConfig = Annotated[CrossEntropyConfig | MapLossConfig | SquaredErrorConfig, Field(discriminator="name")]
OptimizerConfig = Annotated[SGDConfig | RMSpropConfig | AdamConfig | SDLMConfig, Field(discriminator="name")]
ScheduleConfig = Annotated[
    StepScheduleConfig
    | ConstantScheduleConfig
    | CosineScheduleConfig
    | OneCycleScheduleConfig
    | TrapezoidScheduleConfig,
    Field(discriminator="name"),
]
DebugConfig = Annotated[
    NoDebugConfig | FastDebugConfig | OverfitDebugConfig | ProfileDebugConfig | NanDebugConfig,
    Field(discriminator="name"),
]


class Config(Group):
    """A whole experiment."""

    model: ModelConfig
    aug: AugConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    data: DataConfig
    device: DeviceConfig
    logger: LoggerConfig
    tracker: TrackerConfig
    debug: DebugConfig
    trainer: TrainerConfig
    checkpoint: CheckpointConfig
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    init_from: str | None
