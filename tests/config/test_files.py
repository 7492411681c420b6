import os
from pathlib import Path

import pytest

from conftest import CHECKOUT, Command, write
from digitnet.config.compose import compose_run, load_config
from digitnet.config.files import Tree, asks_for_sweep, no_group, no_option
from digitnet.errors import ConfigError
from digitnet.sweep.plan import plan_sweep


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
    assert tree.options("aug") == ["distort", "distort1998", "distort_light", "distort_medium", "mine", "none"]
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


def test_only_regular_files_with_plain_names_are_options(command: Command) -> None:
    write(Path("conf/optimizer/slow.yaml"), "# Slow.\ndefaults: [sgd]\n")
    os.mkfifo("conf/optimizer/pipe.yaml")
    Path("conf/optimizer/.#slow.yaml").symlink_to("nobody@nowhere.1")  # as Emacs leaves it
    Path("conf/optimizer/zeros.yaml").symlink_to("/dev/zero")
    Path("conf/optimizer/folder.yaml").mkdir()
    write(Path("conf/optimizer/.ipynb_checkpoints/slow-checkpoint.yaml"), "nonsense\n")
    assert Tree.at().options("optimizer") == ["adam", "adamw", "rmsprop", "sdlm", "sgd", "sgd_momentum", "slow"]
    assert command("--help").code == 0
    assert command("validate", "--schema-only").code == 0
    done = command("optimizer=pipe")
    assert done.err == (
        "error: optimizer=pipe: no such option; there are adam, adamw, rmsprop, sdlm, sgd, sgd_momentum, slow\n"
    )


def test_root_may_be_given_with_its_suffix() -> None:
    assert Tree.at(root="config.yaml").root == "config"


def test_home_is_expanded(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shells expand `~` at the beginning of a word only."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "conf/optimizer/slow.yaml", "defaults: [sgd]\nlr: 0.001\n")
    composition = compose_run(["hydra.run.dir=~/runs/a", "optimizer=slow"], Tree.at("~/conf"))
    assert composition.run_dir == tmp_path / "runs" / "a"
    assert composition.config.optimizer.lr == 0.001
    assert compose_run(['hydra.run.dir="~/b"'], Tree.at()).run_dir == tmp_path / "b"
    assert plan_sweep(["seed=0,1", "hydra.sweep.dir=~/s"], Tree.at()).sweep.folder == tmp_path / "s"
    assert compose_run(["data=mnist", "data.root=~/mnist"], Tree.at()).config.data.model_dump()["root"] == "~/mnist"
