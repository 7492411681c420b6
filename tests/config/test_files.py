from pathlib import Path

import pytest

from conftest import CHECKOUT, Command, write
from digitnet.config.compose import load_config
from digitnet.config.files import Tree, asks_for_sweep, no_group, no_option
from digitnet.errors import ConfigError


def test_own_directories_add_options_and_replace_packaged_ones(tmp_path: Path) -> None:
    packaged = load_config(["optimizer=adam"])
    write(Path("conf/optimizer/slow.yaml"), "defaults: [sgd]\nlr: 0.001\n")
    write(Path("conf/optimizer/adam.yaml"), "defaults: [adamw]\nname: adam\nlr: 0.5\n")
    assert load_config(["optimizer=slow"]).optimizer.lr == 0.001
    assert (packaged.optimizer.lr, load_config(["optimizer=adam"]).optimizer.lr) == (0.001, 0.5)
    write(tmp_path / "more" / "optimizer" / "adam.yaml", "defaults: [rmsprop]\nlr: 0.7\n")
    with_both = load_config(["optimizer=adam"], config_dir=tmp_path / "more")
    assert (with_both.optimizer.name, with_both.optimizer.lr) == ("rmsprop", 0.7)  # --config-dir before ./conf
    assert load_config(["optimizer=slow"], config_dir=tmp_path / "more").optimizer.lr == 0.001


def test_missing_config_directory_is_refused(command: Command) -> None:
    for flags in (["seed=1"], ["--help"], ["--cfg", "job"]):
        assert command("--config-dir", "nowhere", *flags).err == "error: --config-dir nowhere: no such folder\n"


def test_directories_are_in_order_of_precedence(tmp_path: Path) -> None:
    write(Path("conf/aug/mine.yaml"), "# Mine.\ndefaults: [none]\n")
    write(tmp_path / "more" / "aug" / "mine.yaml", "# Another.\ndefaults: [none]\n")
    tree = Tree.at(tmp_path / "more")
    assert tree.directories == [tmp_path / "more", Path("conf").resolve(), CHECKOUT / "conf"]
    assert tree.own == tree.directories[:-1]
    assert tree.find("aug/mine") == tmp_path / "more" / "aug" / "mine.yaml"
    assert tree.options("aug") == ["distort", "mine", "none"]
    assert tree.described("aug")["mine"] == "Another."
    assert {"aug", "hydra/launcher"} <= tree.groups


def test_unknown_root_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="--config-name other: no such file; there are config"):
        Tree.at(root="other")


def test_messages_about_names_offer_the_nearest() -> None:
    assert no_group("modle", ["model", "aug"]) == "no group 'modle' … did you mean 'model'?"
    assert no_group("x", ["model", "aug"]) == "no group 'x'; there are aug, model"
    assert no_option("aug", "x", ["distort", "none"]) == "aug=x: no such option; there are distort, none"


def test_a_preset_of_a_sweep_asks_for_one() -> None:
    assert asks_for_sweep(["seed=1", "+sweep=lr"])
    assert not asks_for_sweep(["seed=1", "model=sweep"])
