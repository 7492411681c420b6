"""The types of the group data: data sets, and what is held out of them."""

from typing import Annotated, Literal

from pydantic import Field

from digitnet.config.fields import Count, Group

Validation = Literal["test"] | Count


class IdxDataConfig(Group):
    name: Literal["mnist", "fashion_mnist", "kmnist", "emnist"]
    root: str
    validation: Validation


class QmnistDataConfig(Group):
    name: Literal["qmnist"]
    root: str
    part: Literal["test", "test10k", "test50k"]
    validation: Validation


class UspsDataConfig(Group):
    name: Literal["usps"]
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
    invert: bool | Literal["auto"]
    bad_files: Literal["refuse", "skip"]
    links: Literal["inside", "follow"]
    prepare: Literal["mnist", "plain"]
    validation: Validation


class CsvDataConfig(Group):
    name: Literal["csv"]
    root: str
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    validation: Validation


DataConfig = Annotated[
    IdxDataConfig
    | QmnistDataConfig
    | UspsDataConfig
    | DigitsDataConfig
    | AutoDataConfig
    | FolderDataConfig
    | CsvDataConfig,
    Field(discriminator="name"),
]
