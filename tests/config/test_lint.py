"""Defaults lists, groups and places of files: what is wrong before Hydra composes them."""

from pathlib import Path

import pytest

from conftest import CHECKOUT, Command, write
from digitnet.config.compose import load_config
from mistakes import FOREIGN, GLOBAL, Mistake, assert_answered

MISTAKES: list[Mistake] = [
    (
        {"optimizer/x.yaml": "defaults: [y]\n", "optimizer/y.yaml": "defaults: [x]\n"},
        "optimizer=x",
        "defaults: form a cycle, optimizer/x -> optimizer/y -> optimizer/x (conf/optimizer/y.yaml:1)",
    ),
    (
        {"optimizer/sgd.yaml": "defaults: [sgd]\nlr: 1\n"},
        "optimizer=sgd",
        "defaults: form a cycle, optimizer/sgd -> optimizer/sgd; a file that replaces a packaged one must "
        "have all keys itself; or rename it (conf/optimizer/sgd.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sdg]\nlr: 1\n"},
        "optimizer=x",
        "defaults: optimizer=sdg: no such option … did you mean 'sgd'? "
        "There are adam, adamw, rmsprop, sdlm, sgd, sgd_momentum, x"
        " (conf/optimizer/x.yaml:1)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /model: lenet6\n"},
        "experiment=x",
        "defaults: model=lenet6: no such option … did you mean 'lenet5'? "
        "There are allconv, custom, fastnet, lenet5, lenet5_1998, lenet5_no_dropout"
        " (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /modle: lenet5\n"},
        "experiment=x",
        "defaults: no group 'modle' … did you mean 'model'? (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - /model: allconv\n"},
        "experiment=x",
        "defaults: model is chosen already; write 'override /model: allconv' (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override model: allconv\n"},
        "experiment=x",
        "defaults: model is searched in experiment/; write 'override /model: allconv' (conf/experiment/x.yaml:3)",
    ),
    (
        {
            "experiment/x.yaml": GLOBAL + "defaults: [y]\n",
            "experiment/y.yaml": GLOBAL + "defaults:\n  - override /aug: distortt\n",
        },
        "experiment=x",
        "defaults: aug=distortt: no such option … did you mean 'distort' or 'distort_light'? "
        "There are distort, distort1998, distort_light, distort_medium, none"
        " (conf/experiment/y.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults: lenet5\n"},
        "experiment=x",
        "defaults: is a list; write each entry on its own line after '- ' (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - {override /model: allconv, override /aug: none}\n"},
        "experiment=x",
        "defaults: an entry has one group; begin each with '- ' on a line of its own (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - 3\n"},
        "experiment=x",
        "defaults: '3' is not the name of an option (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": "optimizer: {lr: 3}\n"},
        "experiment=x",
        "experiment: a preset sets any group; its first line must be '# @package _global_' (conf/experiment/x.yaml:1)",
    ),
    (
        {"sweep/x.yaml": "defaults:\n  - override /aug: distort\nseed: 1,2\n"},
        "sweep=x",
        "defaults: a sweep preset has none; choose an option as a key, 'aug: distort' (conf/sweep/x.yaml:1)",
    ),
    (
        {"experiment/x.yaml": "\ufeff" + GLOBAL + "seed: 1\n"},
        "experiment=x",
        "Hydra does not read a first line behind a byte order mark; save the file as UTF-8 without it "
        "(conf/experiment/x.yaml:1)",
    ),
    (
        {"optimiser/x.yaml": "defaults: [sgd]\n"},
        "optimiser=x",
        "no group 'optimiser' … did you mean 'optimizer'? (conf/optimiser/x.yaml)",
    ),
    (
        {"optimizer/x.yml": "defaults: [sgd]\n"},
        "optimizer=x",
        "optimizer=x: its file is ignored; the suffix must be .yaml (conf/optimizer/x.yml)",
    ),
    (
        {"experiment/x.yaml": "# What it is.\n" + GLOBAL},
        "experiment=x",
        "experiment: a preset sets any group; its first line must be '# @package _global_' (conf/experiment/x.yaml:1)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /optimizer adam\n"},
        "experiment=x",
        "defaults: 'override /optimizer adam' is not GROUP: OPTION, with a space after the colon"
        " (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /optimizer:adam\n"},
        "experiment=x",
        "defaults: 'override /optimizer:adam' is not GROUP: OPTION, with a space after the colon"
        " (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /optimizer/adam\n"},
        "experiment=x",
        "defaults: 'override /optimizer/adam' is not GROUP: OPTION, with a space after the colon"
        " (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  -\n"},
        "experiment=x",
        "defaults: an entry is empty; name an option (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - /optimiser/adam\n"},
        "experiment=x",
        "defaults: no group 'optimiser' … did you mean 'optimizer'? (conf/experiment/x.yaml:3)",
    ),
    (
        {"optimizer/mine/x.yaml": "defaults: [/optimizer/sgd]\n"},
        "optimizer=mine/x",
        "the file is too deep; an option of optimizer is a file in optimizer/ (conf/optimizer/mine/x.yaml)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /model: [lenet5, fastnet]\n"},
        "experiment=x",
        "defaults: override /model: has several options; name one (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /tracker: [mlflow, nope]\n"},
        "experiment=x",
        "defaults: tracker=nope: no such option *",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /optimizer: adam\n  - override /optimizer: sgd\n"},
        "experiment=x",
        "defaults: 'override /optimizer: sgd' has no effect after 'adam' in conf/experiment/x.yaml:3; leave one out, "
        "or choose on the command line: optimizer=sgd (conf/experiment/x.yaml:4)",
    ),
    (
        {
            "experiment/x.yaml": GLOBAL + "defaults:\n  - override /optimizer: adam\n",
            "sweep/y.yaml": GLOBAL + "defaults:\n  - override /optimizer: rmsprop\n",
        },
        "experiment=x sweep=y",
        "defaults: 'override /optimizer: rmsprop' has no effect after 'adam' in conf/experiment/x.yaml:3; "
        "leave one out, or choose on the command line: optimizer=rmsprop (conf/sweep/y.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /hydra/launcher: local\n"},
        "-m experiment=lenet5,x",
        "defaults: 'override /hydra/launcher: local' has no effect after 'serial' in *;"
        " leave one out, or choose on the command line: hydra/launcher=local (conf/experiment/x.yaml:3)",
    ),
    (
        {"optimizer/x.yaml": "# @package _global_\ndefaults: [sgd]\n"},
        "help optimizer",
        "its keys would be in _global_, not in optimizer; leave out '# @package _global_' (conf/optimizer/x.yaml:1)",
    ),
    (
        {"hydra/launcher/x.yaml": "# @package a.b\nname: local\n"},
        "-m seed=0,1 hydra/launcher=x",
        "its keys would be in a.b, not in hydra.launcher; leave out '# @package a.b' (conf/hydra/launcher/x.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "# @author Ann Other\ndefaults: [sgd]\n"},
        "optimizer=x",
        "'# @author Ann Other': Hydra reads a first line with '# @' as '# @KEY VALUE'; leave out the '@'"
        " (conf/optimizer/x.yaml:1)",
    ),
    (
        {"db/mysql.yaml": "a: 1\n", "config.yaml": "defaults:\n  - db: mysql\n"},
        "seed=1",
        f"no group 'db'; there are * (conf/db/mysql.yaml)\n{FOREIGN}",
    ),
    (
        {"config.yaml": "defaults: [_self_]\nname: app\nport: 8080\n"},
        "seed=1",
        f"no key 'seed' … did you mean 'sweep'?\n{FOREIGN}",
    ),
    (
        {"config.yaml": "database: x\n"},
        "seed=1",
        "the file replaces digitnet's root and has no defaults; if it is not for digitnet, rename it"
        " (conf/config.yaml:1)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "optimizer:\n  name: adam\n"},
        "experiment=x",
        "to choose adam, write 'override /optimizer: adam' in defaults (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "trainer:\nepochs: 3\n"},
        "experiment=x",
        "'trainer' is a group of keys; write keys of trainer below 'trainer:', indented (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "optimizer: sgd\n"},
        "experiment=x",
        "'optimizer' is a group of keys; to choose an option, write 'override /optimizer: sgd' in defaults; "
        "write keys of optimizer below 'optimizer:', indented (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "trainer: 3\n"},
        "experiment=x",
        "'trainer' is a group of keys; write keys of trainer below 'trainer:', indented (conf/experiment/x.yaml:2)",
    ),
]


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_wrong_defaults_and_groups_are_reported_with_file_and_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    assert_answered(command, monkeypatch, files, typed, answer)


def test_list_of_trackers_in_a_preset_or_a_root_is_composed() -> None:
    override = "override /tracker: [tensorboard, mlflow]"
    write(Path("conf/experiment/two.yaml"), f"{GLOBAL}defaults:\n  - {override}\n")
    assert load_config(["experiment=two"]).tracker.chosen == ["tensorboard", "mlflow"]
    assert load_config(["experiment=two", "tracker=none"]).tracker.chosen == []
    root = (CHECKOUT / "conf" / "config.yaml").read_text()
    write(Path("conf/config.yaml"), root.replace("  - tracker: none\n", "  - tracker: [wandb, trackio]\n"))
    assert load_config([]).tracker.chosen == ["wandb", "trackio"]
