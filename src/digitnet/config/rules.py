"""Rules about several keys: values that conflict, values that are worth a warning, keys that `resume` may change."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from digitnet.config.data_schema import DigitsDataConfig
from digitnet.config.dotted import flatten
from digitnet.config.schema import (
    SECTIONS,
    Config,
    DistortConfig,
    FastDebugConfig,
    OverfitDebugConfig,
    ProfileDebugConfig,
    SGDConfig,
    StepScheduleConfig,
    TrapezoidScheduleConfig,
)
from digitnet.data.sizes import TRAINING_IMAGES
from digitnet.text import plural

# Keys that `digitnet resume` may change: other values would not have changed the finished epochs.
CHANGEABLE = (
    "trainer.epochs",
    "trainer.threads",
    "trainer.reuse_memory",
    "trainer.cuda_graph",
    "trainer.plateau_epochs",
    "trainer.early_stop",
    "checkpoint",
    "logger",
    "tracker",
    "data.root",
    "data.bad_files",
    "data.links",
    "device",
)
# Groups that configurations of earlier versions do not have, with the value that behaves as those versions did.
ADDED_SINCE: dict[str, dict[str, Any]] = {
    "tracker": {"every_steps": None},
    "debug": {"name": "none"},
    "loss": {"name": "cross_entropy", "label_smoothing": 0},
}
# And keys of groups, of the option that is named or of any, likewise.
ADDED_KEYS: dict[tuple[str, str | None], dict[str, Any]] = {
    ("data", "folder"): {"links": "inside", "prepare": "plain"},
    ("optimizer", "sgd"): {"fused": None},
    ("optimizer", "adam"): {"fused": None},
    ("optimizer", "adamw"): {"fused": None},
    ("logger", None): {"preview": None},
    ("tracker", None): {"every_steps": None},
    ("trainer", None): {"average": None, "clip_norm": None, "early_stop": None, "ema": None},
}

HIGHEST_LR = 3.4e38  # of float32, in which the optimizers compute


def parse_config(content: Mapping[str, Any]) -> Config:
    """Parse the stored configuration of a run, a sweep or a checkpoint of any version. Raises ValidationError."""
    return Config.model_validate(with_added_keys(content))


def with_added_keys(content: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration, with the groups and keys added that its version did not have."""
    content = {**ADDED_SINCE, **content}
    for (group, option), keys in ADDED_KEYS.items():
        values = content.get(group)
        if isinstance(values, Mapping) and option in (None, values.get("name")):
            content[group] = {**values, **keys, **values}  # added ones last
    tracker = content["tracker"]
    if isinstance(tracker, Mapping) and tracker.get("name") == "none":  # before there were any
        content["tracker"] = {key: value for key, value in tracker.items() if key != "name"}
    return content


def config_conflicts(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """(keys, message) for values that are valid alone but not together."""
    if isinstance(config.optimizer, SGDConfig) and config.optimizer.nesterov and not config.optimizer.momentum:
        keys: tuple[str, ...] = ("optimizer.nesterov", "optimizer.momentum")
        yield keys, "optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9"
    factors = (
        [phase.factor for phase in config.schedule.phases] if isinstance(config.schedule, StepScheduleConfig) else []
    )
    if (highest := config.optimizer.lr * max([1.0, *factors])) > HIGHEST_LR:
        keys = ("optimizer.lr", "schedule.phases")
        what = f"optimizer.lr={config.optimizer.lr:g}"
        what += f" times the schedule's factor {max(factors):g}" if max(factors, default=0) > 1 else ""
        yield keys, f"{what}: {highest:g} is more than a float32 can be; lower it"
    if isinstance(schedule := config.schedule, TrapezoidScheduleConfig):
        fractions = schedule.warmup_fraction, schedule.decay_fraction
        if sum(fractions) > 1:
            keys = ("schedule.warmup_fraction", "schedule.decay_fraction")
            yield keys, f"{keys[0]}={fractions[0]:g} and {keys[1]}={fractions[1]:g}: together more than 1; lower one"
    if getattr(config.data, "root", None) == "":  # of a variable that is not set; as a path, the working directory
        yield ("data.root",), "data.root=: is empty; name a folder, or leave it out"
    if config.trainer.ema is not None and config.trainer.average is not None:
        keys = ("trainer.average", "trainer.ema")
        yield keys, f"{keys[0]} and {keys[1]} both average the weights; leave one out"
    uri = config.tracker.mlflow.uri if config.tracker.mlflow is not None else None
    if uri is not None and not re.match(r"(https?|sqlite|postgresql|mysql|mssql)(\+\w+)?://|databricks", uri):
        yield ("tracker.mlflow.uri",), f"tracker.mlflow.uri={uri}: should begin with http://, https:// or sqlite:///"
    elif uri is not None and re.match(r"[^/]*//[^/]*@", uri):  # the message does not repeat it
        yield (
            ("tracker.mlflow.uri",),
            "tracker.mlflow.uri: has a user or a password, which would be written into the run's files;\n"
            "leave it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_URI",
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


def config_notes(config: Config) -> Iterator[tuple[str, str]]:
    """(key, message) for valid values that have another effect than their text says; a message is one line."""
    epochs = config.trainer.epochs
    if isinstance(config.aug, DistortConfig) and (warmup := warmup_epochs(config)) < config.aug.warmup_epochs:
        only = plural(run_length(config), "epoch")
        yield (
            "aug.warmup_epochs",
            f"aug.warmup_epochs={config.aug.warmup_epochs} is cut to {warmup}: the run has {only}",
        )
    if config.tracker.every_steps is not None and not config.tracker.chosen:
        yield (
            "tracker.every_steps",
            f"tracker.every_steps={config.tracker.every_steps}: has no effect without a tracker",
        )
    if isinstance(config.schedule, StepScheduleConfig) and epochs is not None and run_length(config) == epochs:
        ends = list(accumulate(phase.epochs for phase in config.schedule.phases))
        reached = bisect_left(ends, epochs) + 1
        if reached < len(ends):
            yield (
                "trainer.epochs",
                f"trainer.epochs={epochs} is less than the schedule's {ends[-1]}: it ends in phase {reached} of "
                f"{len(ends)}",
            )
        elif epochs > ends[-1]:
            factor = config.schedule.phases[-1].factor
            yield (
                "trainer.epochs",
                f"trainer.epochs={epochs}: the schedule's last factor, {factor:g}, stays after epoch {ends[-1]}",
            )


def named_destination(tracker: Mapping[str, Any]) -> str | None:
    """`tracker.mlflow.uri=…`: where a configuration's group `tracker` itself says that figures go, None if nowhere.

    With the configuration of somebody else, one's own credentials would be sent there, or files written there.
    """
    for part, key in (("mlflow", "uri"), ("tensorboard", "folder")):
        if (value := (tracker.get(part) or {}).get(key)) is not None:
            return f"tracker.{part}.{key}={value}"
    return None


def untrusted_destination(folder: str, destination: str) -> str:
    """The message about a `named_destination` of a folder that may be from somebody else."""
    return (
        f"{folder}: its figures would go to {destination};\n"
        "if the run is your own, or you trust where it comes from, add --trust"
    )


def is_result(debug: str) -> bool:
    """Whether the figures of a run with that option of `debug` are results."""
    return debug in ("none", "nan")


def run_length(config: Config) -> int:
    """The number of epochs: that of debug, trainer.epochs, or as many as the schedule has."""
    if isinstance(config.debug, FastDebugConfig | OverfitDebugConfig):
        return config.debug.epochs
    if isinstance(config.debug, ProfileDebugConfig):
        return 1
    if config.trainer.epochs is not None:
        return config.trainer.epochs
    if isinstance(config.schedule, StepScheduleConfig):
        return sum(phase.epochs for phase in config.schedule.phases)
    return config.schedule.epochs


def warmup_epochs(config: Config) -> int:
    """The number of first epochs with undistorted images: aug.warmup_epochs, but not the whole run."""
    return min(config.aug.warmup_epochs, run_length(config) - 1) if isinstance(config.aug, DistortConfig) else 0


def is_changeable(key: str) -> bool:
    """Whether `digitnet resume` may change the dotted key."""
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in CHANGEABLE)


def unchangeable_values(config: Config) -> dict[str, Any]:
    """The dotted keys that `digitnet resume` may not change, with their values."""
    return {key: value for key, value in flatten(config.model_dump()).items() if not is_changeable(key)}


def changeable_keys_text() -> str:
    """For help: `trainer.epochs, …, checkpoint.*, logger, …, device`."""
    names = [f"{key}.*" if key in SECTIONS else key for key in CHANGEABLE]
    return ", ".join(names)
