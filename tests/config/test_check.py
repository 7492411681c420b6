"""Keys, types and ranges, in words, with the nearest names."""

import pytest

from conftest import Command
from mistakes import GLOBAL, Mistake, assert_answered

HOW_TO_SET = "set {0}=VALUE, or include another option: 'defaults: [OPTION]'"

MISTAKES: list[Mistake] = [
    (
        {"optimizer/x.yaml": "optimizer:\n  lr: 0.1\n"},
        "optimizer=x",
        "optimizer.name: has no value; *",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\noptimizer:\n  lr: 0.1\n"},
        "optimizer=x",
        "no key 'optimizer.optimizer'; keys in a file of conf/optimizer/ are below optimizer already: leave it out"
        " (conf/optimizer/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: '0.1'\n"},
        "optimizer=x",
        "optimizer.lr='0.1': should be a valid number, without quotes (conf/optimizer/x.yaml:2)",
    ),
    *(
        (
            {f"{group}/x.yaml": f"defaults: [{option}]\n\n{wrong}: 1\n"},
            f"{group}=x",
            f"no key '{group}.{wrong}' … did you mean '{group}.{right}'? (conf/{group}/x.yaml:3)",
        )
        for group, option, wrong, right in [
            ("model", "lenet5", "dropuot", "dropout"),
            ("aug", "distort", "rotation", "rotation_deg"),
            ("optimizer", "sgd", "lrr", "lr"),
            ("schedule", "step", "phase", "phases"),
            ("data", "mnist", "rot", "root"),
            ("device", "cpu", "nam", "name"),
            ("logger", "full", "picture", "pictures"),
        ]
    ),
    (
        {"experiment/x.yaml": GLOBAL + "trainer:\n  epoch: 3\n"},
        "experiment=x",
        "no key 'trainer.epoch' … did you mean 'trainer.epochs'? (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "\nsede: 3\n"},
        "experiment=x",
        "no key 'sede' … did you mean 'seed' or 'schedule'? (conf/experiment/x.yaml:3)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: fast\n"},
        "optimizer=x",
        "optimizer.lr=fast: should be a valid number (conf/optimizer/x.yaml:2)",
    ),
    (
        {"aug/x.yaml": "defaults: [distort]\n\nrotation_deg: 400\n"},
        "aug=x",
        "aug.rotation_deg=400: should be less than or equal to 180 (conf/aug/x.yaml:3)",
    ),
    (
        {
            "experiment/x.yaml": GLOBAL
            + "schedule:\n  phases:\n    - {epochs: 1, factor: 1}\n    - {epochs: 0, factor: 1}\n"
        },
        "experiment=x",
        "schedule.phases.1.epochs=0: should be greater than or equal to 1 (conf/experiment/x.yaml:5)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: -1\ntrainer:\n  epochs: 0\n  batch_size: many\n  precision: fp8\n"},
        "experiment=x",
        "trainer.epochs=0: should be greater than or equal to 1 (conf/experiment/x.yaml:4)\n"
        "trainer.batch_size=many: should be a valid integer (conf/experiment/x.yaml:5)\n"
        "trainer.precision=fp8: should be 'fp32' or 'bf16' (conf/experiment/x.yaml:6)\n"
        "and 1 more",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: {a: 1}\n"},
        "experiment=x",
        "seed={a: 1}: should be a valid integer (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: 1,2\n"},
        "experiment=x",
        "seed=1,2: should be a valid integer (conf/experiment/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": ""},
        "optimizer=x",
        "optimizer.name: has no value; begin the file with 'defaults: [OPTION]', an option to start from: "
        "sgd, rmsprop, adam, adamw, sdlm (conf/optimizer/x.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "lr: -1\nfoo: 1\n"},
        "optimizer=x",
        "optimizer.name: has no value; begin the file with 'defaults: [OPTION]', an option to start from: "
        "sgd, rmsprop, adam, adamw, sdlm (conf/optimizer/x.yaml:1)\n"
        "no key 'optimizer.foo'; there are fused, lr, momentum, name, nesterov, weight_decay "
        "(conf/optimizer/x.yaml:2)\n"
        "optimizer.lr=-1: should be greater than 0 (conf/optimizer/x.yaml:1)",
    ),
    (
        {"aug/x.yaml": "name: distrot\n"},
        "aug=x",
        "aug.name=distrot: no such aug … did you mean 'distort'? (conf/aug/x.yaml:1)",
    ),
    (
        {"logger/x.yaml": "pictures: true\n"},
        "logger=x",
        f"logger.predictions: has no value; {HOW_TO_SET.format('logger.predictions')} (conf/logger/x.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "# @package optimiser\ndefaults: [sgd]\n"},
        "optimizer=x",
        "its keys would be in optimiser, not in optimizer; leave out '# @package optimiser' (conf/optimizer/x.yaml:1)",
    ),
    (
        {"config.yaml": "defaults: [_self_]\nseed: 1\n"},
        "seed=2",
        "model: has no value; choose an option, *\nand 8 more",
    ),
]


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_wrong_keys_and_values_are_reported_with_file_and_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    assert_answered(command, monkeypatch, files, typed, answer)
