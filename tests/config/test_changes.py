from pathlib import Path
from typing import Any

import pytest

from conftest import write
from digitnet.config.changes import with_changes
from digitnet.config.compose import load_config
from digitnet.errors import ConfigError


@pytest.fixture
def content() -> dict[str, Any]:
    return load_config(["data=digits"]).model_dump(mode="json")


def test_changeable_keys_change(content: dict[str, Any]) -> None:
    before = dict(content)
    config = with_changes(content, ["trainer.epochs=30", "device=cpu", "checkpoint.keep=null", "logger=metrics"], "run")
    assert (config.trainer.epochs, config.device.name, config.checkpoint.keep) == (30, "cpu", None)
    assert not config.logger.pictures
    assert content == before


def test_config_of_an_earlier_version_can_be_changed(content: dict[str, Any]) -> None:
    del content["tracker"]
    config = with_changes(content, ["trainer.epochs=30", "tracker=none"], "run")
    assert (config.trainer.epochs, config.tracker.chosen) == (30, [])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1", "seed=1: cannot be changed in a run that has begun; what can: digitnet resume --help;\n"
         "a new run can start from its weights: init_from=RUN_DIR"),
        ("sede=1", "no key 'sede' … did you mean 'seed' or 'schedule'?"),
        ("trainer=x", "trainer=x: has no options; set one of trainer.epochs, trainer.batch_size, *"),
        ("trainer.epochs=1,2", "trainer.epochs=1,2: has several values; give one"),
        ("trainer.epochs=[1", "trainer.epochs=[1: cannot be read (*"),
        ("checkpoint.every=1", "no key 'checkpoint.every'*"),
        ("data.bad_files=skip", "no key 'data.bad_files'; it belongs to data=folder"),
        ("trainer.epochs", "'trainer.epochs': is not KEY=VALUE; see digitnet resume --help"),
        ("trainer.epochs=0", "trainer.epochs=0: should be greater than or equal to 1"),
        ("device=gpu", "device=gpu: no such option*"),
    ],
)  # fmt: skip
def test_other_changes_are_refused(content: dict[str, Any], override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        with_changes(content, [override], "run")
    start, star, _ = message.partition("*")
    assert str(error.value).startswith(start)
    assert star or str(error.value) == message


def test_stored_config_that_is_none_is_reported(content: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^run/summary\.json: optimizer\.lr=fast: should be a valid number"):
        with_changes(content | {"optimizer": content["optimizer"] | {"lr": "fast"}}, [], "run")


def test_own_options_can_be_chosen(content: dict[str, Any], tmp_path: Path) -> None:
    write(Path("conf/logger/mine.yaml"), "defaults: [full]\npictures: ${oc.decode:${oc.env:PICTURES,false}}\n")
    write(tmp_path / "more/logger/other.yaml", "defaults: [metrics]\npredictions: true\n")
    assert not with_changes(content, ["logger=mine"], "run").logger.pictures
    assert with_changes(content, ["logger=mine"], "run").logger.predictions
    assert with_changes(content, ["logger=other"], "run", tmp_path / "more").logger.predictions
    with pytest.raises(ConfigError, match="logger=other: no such option"):
        with_changes(content, ["logger=other"], "run")


def test_fault_in_an_own_option_has_its_line(content: dict[str, Any]) -> None:
    write(Path("conf/logger/mine.yaml"), "defaults: [full]\npictures: 7\n")
    with pytest.raises(ConfigError) as caught:
        with_changes(content, ["logger=mine", "trainer.epochs=0"], "run")
    assert str(caught.value) == (
        "trainer.epochs=0: should be greater than or equal to 1\n"
        "logger.pictures=7: should be true or false (conf/logger/mine.yaml:2)"
    )
