"""The JSON Schemas: current, right about the packaged YAML, and strict about wrong YAML."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from conftest import CHECKOUT
from digitnet.config.json_schema import json_schemas

SCHEMAS = {name: json.loads(text) for name, text in json_schemas().items()}
FILES = sorted([*(CHECKOUT / "conf").glob("*.yaml"), *(CHECKOUT / "conf").glob("*/*.yaml")])  # not Hydra's own groups


REGISTRY = Registry().with_resources(
    [(f"{name}.json", DRAFT7.create_resource(schema)) for name, schema in SCHEMAS.items()]
)


def faults(name: str, text: str) -> list[str]:
    validator = Draft7Validator(SCHEMAS[name], registry=REGISTRY)
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("name", SCHEMAS)
def test_committed_files_are_current(name: str) -> None:
    """Otherwise: digitnet schema schemas."""
    assert (CHECKOUT / "schemas" / f"{name}.json").read_text() == json_schemas()[name]
    Draft7Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_packaged_yaml_passes(path: Path) -> None:
    assert not faults("config" if path.parent.name == "conf" else path.parent.name, path.read_text())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("optimizer", "lrr: 0.1"),
        ("optimizer", "lr: fast"),
        ("optimizer", "lr: -1"),
        ("optimizer", "name: sdg"),
        ("optimizer", "nesterov: true\nbetas: [0.9, 0.9]"),  # of two optimizers
        ("aug", "rotation_deg: 400"),
        ("schedule", "phases: [{epoch: 1, factor: 1}]"),
        ("experiment", "optimizer: sgd"),
        ("experiment", "trainer: {epoch: 3}"),
        ("experiment", "sede: 3"),
        ("config", "trainer: {precision: fp8}"),
        ("device", "name: tpu"),
        ("tracker", "tensorbord: {folder: null}"),
        ("sweep", "trainer: {epoch: 3}"),
        ("sweep", "optimizer.lrr: 0.1,0.3"),
    ],
)
def test_wrong_yaml_is_refused(name: str, text: str) -> None:
    assert faults(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("optimizer", "defaults: [sgd]\nlr: 0.1"),
        ("optimizer", "defaults: [sgd]\nlr: ${oc.env:LR}"),
        ("model", "defaults: [custom]\ntarget: mine:Net\nkwargs: {width: 3}"),
        ("experiment", "defaults:\n  - override /model: allconv\noptimizer: {lr: 0.1}\nseed: 3"),
        ("sweep", "model: allconv\noptimizer.lr: 0.1,0.3\nseed: [0, 1]\naug: none,distort"),
        ("sweep", "hydra: {sweeper: {params: {optimizer.lr: '0.1,0.3'}}}"),
    ],
)
def test_own_yaml_passes(name: str, text: str) -> None:
    assert not faults(name, text)


def test_presets_refer_to_the_root() -> None:
    assert SCHEMAS["experiment"] == {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "digitnet's experiment",
        "$ref": "config.json",
    }


def test_definitions_are_named_by_the_fields_words() -> None:
    assert {name for schema in SCHEMAS.values() for name in schema.get("$defs", {})} == {
        "interpolation", "phase", "tensorboard", "mlflow", "wandb", "trackio",
    }  # fmt: skip


def test_keys_have_the_comments_of_the_yaml() -> None:
    distort: dict[str, Any] = next(kind for kind in SCHEMAS["aug"]["anyOf"] if "shift" in kind["properties"])
    assert distort["properties"]["shift"]["description"] == "fraction of the width and of the height"


def test_editor_settings_name_every_schema() -> None:
    settings = json.loads((CHECKOUT / ".vscode" / "settings.json").read_text())["yaml.schemas"]
    assert set(settings) == {f"schemas/{name}.json" for name in SCHEMAS}
    for pattern in settings.values():
        assert list(CHECKOUT.glob(pattern)), pattern
