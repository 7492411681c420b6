"""The configuration's types, ranges and choices. Its defaults live in conf/, its meaning in build.py."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
DropProbability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e30)]  # float32 ends at 3.4e38
NonNegative = Annotated[float, Field(ge=0, le=1e30)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Init = Literal["glorot_keras2016", "glorot"]
Validation = Literal["test"] | Count

# What `digitnet resume` may change: it does not make the epochs that are done another run's.
CHANGEABLE = (
    "trainer.epochs",
    "trainer.threads",
    "trainer.reuse_memory",
    "trainer.cuda_graph",
    "trainer.plateau_epochs",
    "checkpoint",
    "logger",
    "data.root",
    "data.bad_files",
    "device",
)
GROUPS = ("model", "aug", "optimizer", "schedule", "data", "device", "logger", "experiment", "sweep")  # with options
LAUNCHER = "hydra/launcher"  # a group of Hydra's whose options are digitnet's
PRESETS = ("experiment", "sweep")  # of these: they set keys of others, and leave none of their own
SECTIONS = ("trainer", "checkpoint")  # that have keys only
TRAINING_IMAGES = {"mnist": 60_000, "fashion_mnist": 60_000, "kmnist": 60_000, "auto": 60_000, "digits": 1437}


class Group(BaseModel):
    """No key that the schema does not know, and no silent conversion: "1" is not a number, nor is nan."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


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


class SGDConfig(Group):
    name: Literal["sgd"]
    lr: Positive
    momentum: Beta
    nesterov: bool
    weight_decay: NonNegative


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


class IdxDataConfig(Group):
    name: Literal["mnist", "fashion_mnist", "kmnist"]
    root: str
    validation: Validation


class DigitsDataConfig(Group):
    name: Literal["digits"]
    enlarge_to: Count
    validation: Validation


class AutoDataConfig(Group):
    name: Literal["auto"]
    root: str
    enlarge_to: Count
    validation: Validation


class FolderDataConfig(Group):
    name: Literal["folder"]
    root: str
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    invert: bool
    bad_files: Literal["refuse", "skip"]
    validation: Validation


class DeviceConfig(Group):
    name: Literal["auto", "cpu", "cuda", "mps"]


class LoggerConfig(Group):
    pictures: bool
    predictions: bool


class TrainerConfig(Group):
    epochs: Count | None
    batch_size: Count
    precision: Literal["fp32", "bf16"]
    threads: Threads | None
    channels_last: bool | None
    reuse_memory: bool
    cuda_graph: bool | None
    plateau_epochs: Count | None


class CheckpointConfig(Group):
    every_epochs: Count
    every_minutes: Positive | None
    keep: Annotated[int, Field(ge=0)] | None


Word = Annotated[str, Field(pattern=r"^[\w.,:@%=+&|*-]+$")]  # it stands in a script that Slurm runs


class LocalLauncherConfig(Group):
    name: Literal["local"]
    jobs: Count | None
    threads: Threads | None
    gpus: Annotated[float, Field(gt=0, le=64)]


class RayLauncherConfig(Group):
    name: Literal["ray"]
    address: str
    jobs: Count | None
    cpus: Annotated[float, Field(gt=0, le=1024)]
    gpus: Annotated[float, Field(ge=0, le=64)]


class SlurmLauncherConfig(Group):
    name: Literal["slurm"]
    jobs: Count | None
    minutes: Count
    requeues: Annotated[int, Field(ge=0, le=10_000)]
    grace_seconds: Count
    cpus: Threads
    gpus: Annotated[int, Field(ge=0, le=64)]
    memory_gb: Positive | None
    partition: Word | None
    account: Word | None
    qos: Word | None
    constraint: Word | None


LauncherConfig = Annotated[LocalLauncherConfig | RayLauncherConfig | SlurmLauncherConfig, Field(discriminator="name")]


class Config(Group):
    """A whole experiment."""

    model: Annotated[LeNet5Config | AllConvConfig | FastNetConfig | CustomModelConfig, Field(discriminator="name")]
    aug: Annotated[NoDistortionConfig | DistortConfig, Field(discriminator="name")]
    optimizer: Annotated[SGDConfig | RMSpropConfig | AdamConfig, Field(discriminator="name")]
    schedule: Annotated[
        StepScheduleConfig | ConstantScheduleConfig | CosineScheduleConfig | OneCycleScheduleConfig,
        Field(discriminator="name"),
    ]
    data: Annotated[IdxDataConfig | DigitsDataConfig | AutoDataConfig | FolderDataConfig, Field(discriminator="name")]
    device: DeviceConfig
    logger: LoggerConfig
    trainer: TrainerConfig
    checkpoint: CheckpointConfig
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    init_from: str | None


def config_conflicts(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """(keys, message) for values that are right each by itself and wrong together."""
    if isinstance(config.optimizer, SGDConfig) and config.optimizer.nesterov and not config.optimizer.momentum:
        keys: tuple[str, ...] = ("optimizer.nesterov", "optimizer.momentum")
        yield keys, "optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9"
    if isinstance(config.aug, DistortConfig) and config.aug.warmup_epochs >= (epochs := run_length(config)):
        keys = ("aug.warmup_epochs", "trainer.epochs", "schedule.epochs", "schedule.phases")
        yield (
            keys,
            f"aug.warmup_epochs={config.aug.warmup_epochs}: no image would be distorted, as the run has only {epochs} "
            f"epoch{'s' if epochs > 1 else ''}; lower it or raise trainer.epochs",
        )
    count, held_out = TRAINING_IMAGES.get(config.data.name), config.data.validation
    if count is not None and isinstance(held_out, int) and held_out >= count:
        keys = ("data.validation",)
        yield keys, f"data.validation={held_out}: the training set has only {count} images; hold out fewer"
    elif isinstance(config.data, DigitsDataConfig) and count is not None:
        kept = count - (held_out if isinstance(held_out, int) else 0)
        if config.data.enlarge_to < kept:
            keys = ("data.enlarge_to", "data.validation")
            yield (
                keys,
                f"data.enlarge_to={config.data.enlarge_to}: the embedded training set has {kept} images already",
            )


def config_warnings(config: Config) -> Iterator[tuple[str, str]]:
    """(key, message) for what can be meant and should not pass in silence."""
    epochs = config.trainer.epochs
    if isinstance(config.schedule, StepScheduleConfig) and epochs is not None:
        ends = list(accumulate(phase.epochs for phase in config.schedule.phases))
        reached = bisect_left(ends, epochs) + 1
        if reached < len(ends):
            yield (
                "trainer.epochs",
                f"trainer.epochs={epochs} ends in phase {reached} of the schedule's {len(ends)} ({ends[-1]} epochs)",
            )
        elif epochs > ends[-1]:
            factor = config.schedule.phases[-1].factor
            yield (
                "trainer.epochs",
                f"trainer.epochs={epochs} goes on with the last phase's factor, {factor:g}, after the schedule's "
                f"{ends[-1]} epochs",
            )


def run_length(config: Config) -> int:
    """Epochs: trainer.epochs, or as many as the schedule has."""
    if config.trainer.epochs is not None:
        return config.trainer.epochs
    if isinstance(config.schedule, StepScheduleConfig):
        return sum(phase.epochs for phase in config.schedule.phases)
    return config.schedule.epochs


def is_changeable(key: str) -> bool:
    """Whether `digitnet resume` may change what is below the dotted key."""
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in CHANGEABLE)


def fixed(config: Config) -> dict[str, Any]:
    """All other keys, with their values."""
    flat: dict[str, Any] = {}
    for key, value in config.model_dump().items():
        flat |= {f"{key}.{leaf}": of for leaf, of in value.items()} if isinstance(value, dict) else {key: value}
    return {key: value for key, value in flat.items() if not is_changeable(key)}


def group_keys(group: str) -> dict[str, list[str]]:
    """The keys of each option of a group that comes in several kinds: {"none": ["name"], "distort": [...]}."""
    field = Config.model_fields.get(group)
    kinds = [kind for kind in get_args(field.annotation) if hasattr(kind, "model_fields")] if field else []
    return {
        option: list(kind.model_fields) for kind in kinds for option in get_args(kind.model_fields["name"].annotation)
    }


def choices(key: str) -> list[str]:
    """The values that a dotted key can have, as YAML writes them, if countable: true, null, names."""
    group, _, leaf = key.rpartition(".")
    if not group:
        holders: list[type[Group]] = [Config]
    else:
        field = Config.model_fields.get(group)
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        holders = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Group)]
    annotations = [holder.model_fields[leaf].annotation for holder in holders if leaf in holder.model_fields]
    return sorted({value for annotation in annotations for value in _values(annotation)})


def _values(annotation: Any) -> Iterator[str]:
    if annotation is bool:
        yield from ("false", "true")
    elif annotation is type(None):
        yield "null"
    elif get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is not list:
        for member in get_args(annotation):
            yield from _values(member)
