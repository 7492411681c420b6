"""Configurations of one's own: which file goes before which, what is wrong in YAML, and what is not a way in."""

import os
import sys
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import CHECKOUT, TINY, Command, run_folder, write
from digitnet.config.compose import Composition, compose_incomplete, compose_run, load_config
from digitnet.config.files import Tree
from digitnet.config.schema import GROUPS
from digitnet.errors import ConfigError, DigitnetError
from digitnet.experiment import run
from digitnet.runs.folder import RunFolder

GLOBAL = "# @package _global_\n"
HOW_TO_SET = "set {0}=VALUE, or take what the file lacks from another option: 'defaults: [OPTION]'"
HARMLESS = "a config makes digitnet neither import nor call anything; leave it out"

# The files below ./conf, what is typed, and what is answered, whole.
MISTAKES: list[tuple[dict[str, str | bytes], str, str]] = [
    # What cannot be read
    (
        {"optimizer/x.yaml": "lr: [1\nfoo: 3\n"},
        "optimizer=x",
        "the file is not YAML: expected ',' or ']', but got ':' (conf/optimizer/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "lr:\n\t- 1\n"},
        "optimizer=x",
        "the file is not YAML: a tab; indent with spaces (conf/optimizer/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": b"seed: \x00\n"},
        "experiment=x",
        "the file is not YAML: unacceptable character #x0000: special characters are not allowed"
        " (conf/experiment/x.yaml)",
    ),
    (
        {"experiment/x.yaml": b"# @package _global_\nseed: \xe4\n"},
        "experiment=x",
        "the file is not UTF-8 text (conf/experiment/x.yaml)",
    ),
    (
        {"optimizer/x.yaml": "- 1\n- 2\n"},
        "optimizer=x",
        "the file has no keys; it is made of lines KEY: VALUE, this is a list (conf/optimizer/x.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "hello\n"},
        "optimizer=x",
        "the file has no keys; it is made of lines KEY: VALUE, this is 'hello' (conf/optimizer/x.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: 1\nlr: 2\n"},
        "optimizer=x",
        "'lr' stands twice, first in line 2 (conf/optimizer/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "trainer:\n  epochs: 3\n  epochs: 4\n"},
        "experiment=x",
        "'trainer.epochs' stands twice, first in line 3 (conf/experiment/x.yaml:4)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: !!python/object/apply:os.system [ls]\n"},
        "optimizer=x",
        "the tag !!python/object/apply:os.system is not for configs (conf/optimizer/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: !foo 3\n"},
        "optimizer=x",
        "the tag !foo is not for configs (conf/optimizer/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: &a [*a]\n"},
        "optimizer=x",
        "the alias in 'lr.0' leads back to itself (conf/optimizer/x.yaml:2)",
    ),
    ({"config.yaml": "defaults: [\n"}, "seed=1", "the file is not YAML: * (conf/config.yaml:2)"),
    # Defaults
    (
        {"optimizer/x.yaml": "defaults: [y]\n", "optimizer/y.yaml": "defaults: [x]\n"},
        "optimizer=x",
        "defaults: go in a circle, optimizer/x -> optimizer/y -> optimizer/x (conf/optimizer/y.yaml:1)",
    ),
    (
        {"optimizer/sgd.yaml": "defaults: [sgd]\nlr: 1\n"},
        "optimizer=sgd",
        "defaults: go in a circle, optimizer/sgd -> optimizer/sgd; a file in place of a packaged one has all keys "
        "itself, or else a name of its own (conf/optimizer/sgd.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sdg]\nlr: 1\n"},
        "optimizer=x",
        "defaults: optimizer=sdg: no such option … did you mean 'sgd'? There are adam, adamw, rmsprop, sgd, x"
        " (conf/optimizer/x.yaml:1)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /model: lenet6\n"},
        "experiment=x",
        "defaults: model=lenet6: no such option … did you mean 'lenet5'? There are allconv, custom, fastnet, lenet5"
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
        "defaults: model is looked for below experiment/; write 'override /model: allconv' (conf/experiment/x.yaml:3)",
    ),
    (
        {
            "experiment/x.yaml": GLOBAL + "defaults: [y]\n",
            "experiment/y.yaml": GLOBAL + "defaults:\n  - override /aug: distortt\n",
        },
        "experiment=x",
        "defaults: aug=distortt: no such option … did you mean 'distort'? There are distort, none"
        " (conf/experiment/y.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults: lenet5\n"},
        "experiment=x",
        "defaults: is a list; write each entry on a line of its own behind '- ' (conf/experiment/x.yaml:2)",
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
        {"optimizer/x.yaml": "# @package optimiser\ndefaults: [sgd]\n"},
        "optimizer=x",
        "no key 'optimiser' … did you mean 'optimizer'? (conf/optimizer/x.yaml:1)\noptimizer: has no value; *",
    ),
    (
        {"optimiser/x.yaml": "defaults: [sgd]\n"},
        "optimiser=x",
        "no group 'optimiser' … did you mean 'optimizer'? (conf/optimiser/x.yaml)",
    ),
    (
        {"optimizer/x.yml": "defaults: [sgd]\n"},
        "optimizer=x",
        "optimizer=x: its file is not looked at; the ending is .yaml (conf/optimizer/x.yml)",
    ),
    (
        {"config.yaml": "defaults: [_self_]\nseed: 1\n"},
        "seed=2",
        "model: has no value; choose an option, *\nand 7 more",
    ),
    (
        {"experiment/x.yaml": "# What it is.\n" + GLOBAL},
        "experiment=x",
        "experiment: a preset sets any group; its first line must be '# @package _global_' (conf/experiment/x.yaml:1)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /optimizer adam\n"},
        "experiment=x",
        "defaults: 'override /optimizer adam' is not GROUP: OPTION, with a space behind the colon"
        " (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /optimizer:adam\n"},
        "experiment=x",
        "defaults: 'override /optimizer:adam' is not GROUP: OPTION, with a space behind the colon"
        " (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "defaults:\n  - override /optimizer/adam\n"},
        "experiment=x",
        "defaults: 'override /optimizer/adam' is not GROUP: OPTION, with a space behind the colon"
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
        "the file stands too deep; an option of optimizer is a file in optimizer/ (conf/optimizer/mine/x.yaml)",
    ),
    (
        {"config.yaml": "database: x\n"},
        "seed=1",
        "the file stands for digitnet's root and has no defaults; if it is not digitnet's, rename it"
        " (conf/config.yaml:1)",
    ),
    (
        {"config.yaml": "defaults: [model: lenet5]\n"},
        "experiment=allconv",
        "the root's defaults have no 'experiment'; write +experiment=OPTION, or add it there",
    ),
    # Keys and values
    (
        {"experiment/x.yaml": GLOBAL + "trainer.epochs: 3\n"},
        "experiment=x",
        "'trainer.epochs': in YAML write 'trainer:' and below it, indented, 'epochs: …' (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "optimizer:\n  name: adam\n"},
        "experiment=x",
        "to choose adam, write 'override /optimizer: adam' in defaults (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "trainer:\nepochs: 3\n"},
        "experiment=x",
        "'trainer' is a group of keys; keys of trainer stand below 'trainer:', indented (conf/experiment/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "optimizer:\n  lr: 0.1\n"},
        "optimizer=x",
        "optimizer.name: has no value; *",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\noptimizer:\n  lr: 0.1\n"},
        "optimizer=x",
        "no key 'optimizer.optimizer'; what stands in a file of conf/optimizer/ is below optimizer already"
        " (conf/optimizer/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\n<<: {lr: 3}\n"},
        "optimizer=x",
        "'<<' is not for configs; 'defaults' takes in other files (conf/optimizer/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "init_from: {{ here }}\n"},
        "experiment=x",
        "a key is a word; quote a value that begins with { or [ (conf/experiment/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: '0.1'\n"},
        "optimizer=x",
        "optimizer.lr='0.1': should be a valid number, without quotes (conf/optimizer/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr:0.1\nmomentum: 0.1\n"},
        "optimizer=x",
        "the file is not YAML: a line without ': ', colon and space (conf/optimizer/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: 0.1\n  momentum: 0.1\n"},
        "optimizer=x",
        "the file is not YAML: a ':' too many, or a line indented too far (conf/optimizer/x.yaml:3)",
    ),
    ({"experiment/x.yaml": GLOBAL + "a: " + "[" * 3000}, "experiment=x", "the file is nested too deep *"),
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
        {"experiment/x.yaml": GLOBAL + "1:\n"},
        "experiment=x",
        "the key '1' is no word to YAML; name it otherwise (conf/experiment/x.yaml:2)",
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
        {"experiment/x.yaml": GLOBAL + "optimizer: sgd\n"},
        "experiment=x",
        "'optimizer' is a group of keys; to choose an option, write 'override /optimizer: sgd' in defaults; "
        "keys of optimizer stand below 'optimizer:', indented (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "trainer: 3\n"},
        "experiment=x",
        "'trainer' is a group of keys; keys of trainer stand below 'trainer:', indented (conf/experiment/x.yaml:2)",
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
        "sgd, rmsprop, adam, adamw (conf/optimizer/x.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "lr: -1\nfoo: 1\n"},
        "optimizer=x",
        "optimizer.name: has no value; begin the file with 'defaults: [OPTION]', an option to start from: "
        "sgd, rmsprop, adam, adamw (conf/optimizer/x.yaml:1)\n"
        "no key 'optimizer.foo'; there are lr, momentum, name, nesterov, weight_decay (conf/optimizer/x.yaml:2)\n"
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
    # Interpolations
    (
        {"experiment/x.yaml": GLOBAL + "seed: ${sed}\n"},
        "experiment=x",
        "seed: no key 'sed' … did you mean 'seed'? (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: ${sed\n"},
        "experiment=x",
        "seed=${sed: the interpolation is not closed; write ${KEY} (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: ${nope:1}\n"},
        "experiment=x",
        "seed: Unsupported interpolation type nope (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: ${oc.env:DIGITNET_NOPE}\n"},
        "experiment=x",
        "seed: Environment variable 'DIGITNET_NOPE' not found (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: ${trainer.threads}\ntrainer: {threads: '${seed}'}\n"},
        "experiment=x",
        "seed: Recursive interpolation detected (conf/experiment/x.yaml:2)",
    ),
    # What does not fit together
    (
        {"experiment/x.yaml": GLOBAL + "defaults: [override /aug: distort]\ntrainer:\n  epochs: 2\n"},
        "experiment=x",
        "aug.warmup_epochs=2: no image would be distorted, as the run has only 2 epochs; lower it or raise "
        "trainer.epochs (conf/experiment/x.yaml:4)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "optimizer:\n  nesterov: true\n"},
        "experiment=x",
        "optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9 (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "data:\n  validation: 60000\n"},
        "experiment=x",
        "data.validation=60000: the training set has only 60000 images; hold out fewer (conf/experiment/x.yaml:3)",
    ),
    # Ways in that are none
    (
        {"experiment/x.yaml": GLOBAL + "model: {_target_: os.system}\n"},
        "experiment=x",
        "no key 'model._target_'; there are dropout, init, name (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  callbacks: {a: {_target_: trap.spring}}\n"},
        "experiment=x",
        f"hydra.callbacks: {HARMLESS} (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  job:\n    env_set: {PATH: /trap}\n"},
        "experiment=x",
        f"hydra.job.env_set: {HARMLESS} (conf/experiment/x.yaml:4)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  job_logging:\n    handlers: {a: {(): trap.spring}}\n"},
        "experiment=x",
        "hydra.job_logging: only Hydra's own options of it may be chosen (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  hydra_logging:\n    handlers: {a: {class: trap.spring}}\n"},
        "experiment=x",
        "hydra.hydra_logging: only Hydra's own options of it may be chosen (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  launcher:\n    _target_: trap.spring\n"},
        "experiment=x",
        "hydra/launcher: digitnet brings its own, local, ray, serial, slurm; choose one of them"
        " (conf/experiment/x.yaml:4)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  searchpath: [pkg://trap]\n"},
        "experiment=x",
        "hydra.searchpath: digitnet looks in ./conf and in --config-dir FOLDER only (conf/experiment/x.yaml:3)",
    ),
    (
        {"config.yaml": "defaults: []\nhydra:\n  searchpath: [pkg://trap]\n"},
        "seed=1",
        "hydra.searchpath: digitnet looks in ./conf and in --config-dir FOLDER only (conf/config.yaml:3)",
    ),
    ({}, "hydra.searchpath=[pkg://trap]", "hydra.searchpath: digitnet looks in ./conf and in --config-dir FOLDER only"),
    (
        {"config.yaml": "defaults: []\nhydra: ${h}\nh:\n  searchpath: [pkg://trap]\n"},
        "seed=1",
        "'hydra' is a group of keys; keys of hydra stand below 'hydra:', indented (conf/config.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  sweeper:\n    params: {_target_: trap.spring, x: y}\n"},
        "-m experiment=x seed=1,2",
        f"hydra.sweeper.params._target_: {HARMLESS} (conf/experiment/x.yaml:4)",
    ),
    (
        {
            "experiment/x.yaml": GLOBAL
            + "defaults: [override /model: custom]\nmodel: {target: a:B, kwargs: {_target_: trap.spring}}\n"
            + "hydra:\n  sweeper:\n    params: ${model.kwargs}\n"
        },
        "-m experiment=x seed=1,2",
        f"hydra.sweeper.params: {HARMLESS} (conf/experiment/x.yaml:6)",
    ),
    (
        {
            "experiment/x.yaml": GLOBAL + "hydra:\n  job_logging: {handlers: {a: {(): trap.spring}}}\n",
            "experiment/y.yaml": GLOBAL + "seed: 3\n",
        },
        "-m experiment=y,x seed=-1",
        "seed=-1: should be greater than or equal to 0\n"
        "hydra.job_logging: only Hydra's own options of it may be chosen (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  callbacks: {a: {_target_: trap.spring}}\n"},
        "--cfg job experiment=x",
        f"hydra.callbacks: {HARMLESS} (conf/experiment/x.yaml:3)",
    ),
    (
        {"config.yaml": "defaults: []\nhydra:\n  searchpath: [pkg://trap]\n"},
        "--info searchpath",
        "hydra.searchpath: digitnet looks in ./conf and in --config-dir FOLDER only (conf/config.yaml:3)",
    ),
    (
        {"model/lenet5.yaml": "name: custom\ntarget: trap:Net\nkwargs: null\n"},
        "model=lenet5",
        "model.target=trap:Net: a network of your own under the name of a packaged one; name it otherwise"
        " (conf/model/lenet5.yaml:2)",
    ),
    (
        {
            "config.yaml": (CHECKOUT / "conf" / "config.yaml").read_text().replace("model: lenet5", "model: mine"),
            "model/mine.yaml": "defaults: [custom]\ntarget: trap:Net\n",
        },
        "seed=1",
        "model.target=trap:Net: a network is imported if you ask for it by name; add model=mine"
        " (conf/model/mine.yaml:2)",
    ),
    ({}, "hydra.output_subdir=x", "hydra.output_subdir: is always .hydra; leave it out"),
    (
        {},
        "schedule=cosine schedule.epochs=30 trainer.epochs=5",
        "schedule.epochs and trainer.epochs are both the run's length; leave one out",
    ),
    ({}, "hydra.run.dir=", "hydra.run.dir: is empty; give a folder"),
    ({}, "+hydra.job.env_copy=[PATH]", f"hydra.job.env_copy: {HARMLESS}"),
    ({}, "model=[lenet5,allconv]", "model=[lenet5,allconv]: not the name of an option; see digitnet --help"),
    ({}, "model=../model/lenet5", "model=../model/lenet5: not the name of an option; see digitnet --help"),
    ({}, "optimizer=null seed=1", "optimizer=null: not the name of an option; see digitnet --help"),
    ({}, "-m optimizer=sgd,adamm", "optimizer=adamm: no such option … did you mean 'adam' or 'adamw'? There are *"),
    ({}, "schedule.phases=[{epochs:1,factor:1}", "schedule.phases=[{epochs:1,factor:1}: cannot be read; a bracket *"),
    ({}, "--lr 0.1", "unrecognized arguments: --lr; values are set without dashes, KEY=VALUE; see digitnet --help"),
    (
        {},
        "hydra.job.chdir=true",
        "hydra.job.chdir: digitnet stays in the working directory, which paths start from; leave it out",
    ),
    ({}, "hydra.mode=MULTIRUN", "hydra.mode=MULTIRUN: a sweep is started with -m"),
    ({}, "++hydra.run.dri=x", "no key 'hydra.run.dri' … did you mean 'hydra.run.dir'?"),
    ({}, "hydra.run.dir=${nope}", "hydra.run.dir: Interpolation key 'nope' not found"),
    ({}, "seed=1\x07", "'seed=1\\x07': holds a character that cannot be printed; leave it out"),
    ({}, "schedule.phases.name=3", "schedule.phases.name=3: invalid literal for int() with base 10: 'name'"),
    ({}, "schedule.phases.9.factor=3", "schedule.phases.9.factor=3: list index out of range"),
    ({}, "+hydra.callbacks.x._target_=trap.spring", f"hydra.callbacks: {HARMLESS}"),
    ({}, "+model._target_=trap.spring", "no key 'model._target_'; there are dropout, init, name"),
    (
        {},
        "model=custom model.target=os:getcwd data=digits",
        "model.target=os:getcwd: getcwd is not a subclass of torch.nn.Module",
    ),
    ({"experiment/x.yaml": GLOBAL + "hydra: {foo: 3}\n"}, "experiment=x", "hydra.foo: * (conf/experiment/x.yaml:2)"),
]


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_mistakes_in_yaml(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    if "data=digits" not in typed:  # found without a run
        monkeypatch.setattr(run, "run_experiment", lambda *_: None)
    Path("trap.py").write_text("open('sprung', 'w')\ndef spring(*_, **__): open('sprung', 'w')\n")
    for name, content in files.items():
        write(Path("conf") / name, content)
    done = command(*typed.split())
    start, star, end = f"error: {answer}\n".partition("*")
    assert done.err.startswith(start), done.err
    assert not star or done.err.endswith(end), done.err
    assert star or done.err == start
    assert not done.out
    assert done.code == 2
    assert len(done.err.splitlines()) <= 4
    assert "data=digits" in typed or not Path("outputs").exists()
    assert not Path("sprung").exists()
    assert "trap" not in sys.modules


def test_a_broken_file_that_nobody_chose_is_no_hindrance(command: Command) -> None:
    write(Path("conf/aug/broken.yaml"), "a: [")
    assert command(*TINY, "trainer.epochs=1").code == 0
    assert "not YAML" in command("aug=broken").err


def test_what_is_typed_goes_before_what_is_written(command: Command) -> None:
    write(Path("conf/optimizer/x.yaml"), "defaults: [sgd]\nlr: -1\n")
    assert command("optimizer=x", "optimizer.lr=-2").err == "error: optimizer.lr=-2: should be greater than 0\n"
    assert load_config(["optimizer=x", "optimizer.lr=2"]).optimizer.lr == 2


def test_own_directories_add_and_override(tmp_path: Path) -> None:
    packaged = load_config(["optimizer=adam"])
    write(Path("conf/optimizer/slow.yaml"), "defaults: [sgd]\nlr: 0.001\n")
    write(Path("conf/optimizer/adam.yaml"), "defaults: [adamw]\nname: adam\nlr: 0.5\n")
    assert load_config(["optimizer=slow"]).optimizer.lr == 0.001
    assert (packaged.optimizer.lr, load_config(["optimizer=adam"]).optimizer.lr) == (0.001, 0.5)
    write(tmp_path / "more" / "optimizer" / "adam.yaml", "defaults: [rmsprop]\nlr: 0.7\n")
    with_both = load_config(["optimizer=adam"], config_dir=tmp_path / "more")
    assert (with_both.optimizer.name, with_both.optimizer.lr) == ("rmsprop", 0.7)  # --config-dir before ./conf
    assert load_config(["optimizer=slow"], config_dir=tmp_path / "more").optimizer.lr == 0.001


def test_a_root_of_ones_own(command: Command) -> None:
    write(Path("conf/mine.yaml"), "defaults: [config, _self_]\nseed: 7\n")
    assert compose_run([], Tree.at(root="mine")).config.seed == 7
    done = command("--config-name", "mine", *TINY, "trainer.epochs=1")
    assert done.code == 0
    run = (run_folder() / "summary.json").read_text()
    assert '"command": "digitnet --config-name mine data=digits' in run
    wrong = command("--config-name", "mien")
    assert wrong.err == "error: --config-name mien: no such file … did you mean 'mine'?\n"


def test_the_command_that_is_written_down_makes_the_run_again(command: Command, tmp_path: Path) -> None:
    own = tmp_path / "my options"
    write(own / "optimizer" / "mine.yaml", "defaults: [adam]\nlr: 0.002\n")
    assert command(*TINY, "--config-dir", str(own), "optimizer=mine", "trainer.epochs=1").code == 0
    summary = (run_folder() / "summary.json").read_text()
    assert f"digitnet --config-dir '{own}' data=digits" in summary
    assert "optimizer=mine" in summary


def test_a_missing_config_directory(command: Command) -> None:
    for flags in (["seed=1"], ["--help"], ["--cfg", "job"]):
        assert command("--config-dir", "nowhere", *flags).err == "error: --config-dir nowhere: no such folder\n"


def test_flags_may_stand_anywhere(command: Command) -> None:
    done = command("seed=3", "--cfg", "job", "optimizer=adam", "--package", "optimizer")
    assert done.out.startswith("# @package optimizer\nname: adam\n")


def test_what_is_shown_is_checked_too(command: Command) -> None:
    done = command("--cfg", "job", "optimizer.lr=-1")
    assert "lr: -1" in done.out
    assert (done.code, done.err) == (2, "error: optimizer.lr=-1: should be greater than 0\n")
    assert command("--cfg", "job", "data=folder").code == 0  # a value that only its user has is missing
    assert command("--cfg", "job", "--package", "optimiser").err.startswith("error: no key 'optimiser' … did you mean")
    assert command("--cfg", "jb").err.startswith("error: argument --cfg: invalid choice: 'jb'")
    assert command("--cfg", "job", "--info").err.startswith("error: argument --info: not allowed with argument --cfg;")
    assert command("--package", "optimizer").err.startswith("error: --resolve and --package go with --cfg;")


def test_a_misspelt_key_stops_a_sweep_before_its_first_job(command: Command) -> None:
    done = command("-m", "optimiser.lr=0.1,0.3", "seed=0,1")
    assert (done.code, done.err) == (2, "error: no key 'optimiser.lr' … did you mean 'optimizer.lr'?\n")
    assert not Path("outputs").exists()


def test_a_sweep_over_all_that_a_pattern_names(command: Command) -> None:
    done = command("-m", *TINY, "trainer.epochs=1", "trainer.threads=1", "optimizer=glob(adam*)")
    assert done.code == 0
    assert len(list(Path("outputs/sweeps").glob("*/*/summary.json"))) == 2


def claim(composition: Composition) -> AbstractContextManager[RunFolder]:
    return RunFolder.claim(composition.run_dir, composition.hydra_files())


def test_a_folder_that_another_run_has_just_taken() -> None:
    """It may not have got beyond writing down its configuration."""
    ready = compose_run([*TINY, "hydra.run.dir=here"], Tree.at())
    other = compose_run([*TINY, "hydra.run.dir=here", "seed=1"], Tree.at())
    with claim(other):
        with pytest.raises(DigitnetError, match="here: another process is at work there; wait for it"), claim(ready):
            pass
        assert "seed: 1" in Path("here/.hydra/config.yaml").read_text()
    with claim(ready):  # that one has left nothing but its configuration: it was stopped before it began
        assert "seed: 0" in Path("here/.hydra/config.yaml").read_text()
        write(Path("here/summary.json"), "{}")
    with pytest.raises(ConfigError, match="here: holds a run already"), claim(ready):
        pass


def test_lists_in_place_of_strings() -> None:
    with pytest.raises(ConfigError, match=r"\['seed=1'\]: is not a string of the form KEY=VALUE"):
        compose_run([["seed=1"]], Tree.at())  # type: ignore[list-item]


def test_hydra_says_nothing_of_its_own() -> None:
    """A root without `_self_` makes Hydra warn; the order is what one expects."""
    write(Path("conf/mine.yaml"), "defaults: [config]\nseed: 7\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compose_run([], Tree.at(root="mine")).config.seed == 7


def test_values_that_only_a_user_has() -> None:
    assert compose_incomplete(["data=folder"], Tree.at()) is None
    with pytest.raises(ConfigError, match=r"data\.root: has no value; set data.root=VALUE"):
        load_config(["data=folder"])
    with pytest.raises(ConfigError, match=r"data\.test_fraction=2: should"):
        compose_incomplete(["data=folder", "data.test_fraction=2"], Tree.at())
    write(Path("conf/optimizer/x.yaml"), "name: sgd\nlr: ???\nmomentum: 0.0\nnesterov: false\nweight_decay: 0.0\n")
    assert compose_incomplete(["optimizer=x"], Tree.at()) is None  # lr shall be a number, and is not yet
    with pytest.raises(ConfigError) as error:
        compose_incomplete(["optimizer=x", "optimizer.momentum=2"], Tree.at())
    assert str(error.value) == "optimizer.momentum=2: should be less than 1"


def test_the_callers_state_is_left_alone(tmp_path: Path) -> None:
    path, here = list(sys.path), Path.cwd()
    with pytest.raises(ConfigError):
        load_config(["modle=lenet5"])
    assert (sys.path, Path.cwd()) == (path, here)


KEYS = [*GROUPS, "seed", "init_from", "trainer", "trainer.epochs", "optimizer.lr", "optimizer.betas", "aug.shift"]
KEYS += ["schedule.phases", "data.root", "model.kwargs", "hydra.run.dir", "hydra.searchpath", "hydra/launcher", "x", ""]
WORDS = ["lenet5", "sgd", "adam", "distort", "custom", "folder", "step", "1", "-1", "1e400", "nan", "null", "true"]
WORDS += ["[1,2]", "{a: 1}", "{", "[", "'", '"', "${seed}", "${x}", "${", "a,b", "1,2", "range(3)", "glob(*)", "a=b"]
WORDS += [
    " ",
    "\\",
    "\n",
    "#",
    "é",
    "???",
    "../config",
    "@x",
    "_self_",
    "choice(1,2)",
    "int(3)",
    "interval(1,2)",
    "0x1",
]
OVERRIDES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "", "+", "++", "~"]),
    st.one_of(st.sampled_from(KEYS), st.text(max_size=6)),
    st.sampled_from(["=", "=", "=", "", "@a=", ".name=", "/x="]),
    st.one_of(st.sampled_from(WORDS), st.text(max_size=6)),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OVERRIDES, min_size=1, max_size=3))
def test_no_override_makes_a_traceback(overrides: list[str]) -> None:
    """The composer answers with a configuration or a ConfigError, whatever is typed; `os.environ` stays as it is."""
    before = dict(os.environ)
    try:
        compose_run(overrides, Tree.at())
    except ConfigError as error:
        text = str(error)
        assert text
        assert len(text.splitlines()) <= 4, text
        assert "Traceback" not in text
    assert dict(os.environ) == before
