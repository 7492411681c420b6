"""Composing: precedence of files, roots, what is shown, and the checks on the whole."""

import os
import sys
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import CHECKOUT, TINY, Command, run_folder, write
from digitnet.config.compose import Composition, compose_incomplete, compose_run, load_config
from digitnet.config.files import Tree
from digitnet.config.schema import GROUPS
from digitnet.errors import ConfigError, DigitnetError
from digitnet.runs.folder import RunFolder
from mistakes import GLOBAL, Mistake, assert_answered

MISTAKES: list[Mistake] = [
    (
        {"experiment/x.yaml": GLOBAL + "seed: ${sed}\n"},
        "experiment=x",
        "seed: no key 'sed' … did you mean 'seed'? (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: ${nope:1}\n"},
        "experiment=x",
        "seed: Unsupported interpolation type nope (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: ${oc.env:USUAL,12}\n"},
        "experiment=x",
        "seed='12': should be a valid integer; a variable is text: write \"${oc.decode:${oc.env:USUAL,12}}\", with the "
        "quotes (conf/experiment/x.yaml:2)",
    ),
    ({}, "data=mnist data.root=123", 'data.root=123: should be text; in quotes: "123", in a shell \'data.root="123"\''),
    ({}, "hydra.sweep.dir=x", "hydra.sweep.dir=x: is of a sweep; for a single run, write hydra.run.dir=x"),
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
    (
        {},
        "schedule=cosine schedule.epochs=30 trainer.epochs=5",
        "schedule.epochs and trainer.epochs are both the run's length; leave one out",
    ),
    ({}, "hydra.run.dir=", "hydra.run.dir: is empty; give a folder"),
    ({}, "--lr 0.1", "unrecognized arguments: --lr; values are set without dashes, KEY=VALUE; see digitnet --help"),
    ({}, "hydra.mode=MULTIRUN", "hydra.mode=MULTIRUN: a sweep is started with -m"),
    ({}, "hydra.run.dir=${nope}", "hydra.run.dir: Interpolation key 'nope' not found"),
    (
        {},
        "model=custom model.target=os:getcwd data=digits",
        "model.target=os:getcwd: getcwd is not a subclass of torch.nn.Module",
    ),
    ({"experiment/x.yaml": GLOBAL + "hydra: {foo: 3}\n"}, "experiment=x", "hydra.foo: * (conf/experiment/x.yaml:2)"),
]


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_a_composition_that_cannot_run_is_refused(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    assert_answered(command, monkeypatch, files, typed, answer)


def test_a_broken_file_matters_only_where_it_is_chosen(command: Command) -> None:
    write(Path("conf/aug/broken.yaml"), "a: [")
    assert command(*TINY, "trainer.epochs=1").code == 0
    assert "not YAML" in command("aug=broken").err


def test_the_command_line_takes_precedence_over_yaml(command: Command) -> None:
    write(Path("conf/optimizer/x.yaml"), "defaults: [sgd]\nlr: -1\n")
    assert command("optimizer=x", "optimizer.lr=-2").err == "error: optimizer.lr=-2: should be greater than 0\n"
    assert load_config(["optimizer=x", "optimizer.lr=2"]).optimizer.lr == 2


def test_config_name_chooses_the_root(command: Command) -> None:
    write(Path("conf/mine.yaml"), "defaults: [config, _self_]\nseed: 7\n")
    assert compose_run([], Tree.at(root="mine")).config.seed == 7
    done = command("--config-name", "mine", *TINY, "trainer.epochs=1")
    assert done.code == 0
    run = (run_folder() / "summary.json").read_text()
    assert '"command": "digitnet --config-name mine data=digits' in run
    wrong = command("--config-name", "mien")
    assert wrong.err == "error: --config-name mien: no such file … did you mean 'mine'?\n"


def test_recorded_command_names_config_dir_and_overrides(command: Command, tmp_path: Path) -> None:
    own = tmp_path / "my options"
    write(own / "optimizer" / "mine.yaml", "defaults: [adam]\nlr: 0.002\n")
    assert command(*TINY, "--config-dir", str(own), "optimizer=mine", "trainer.epochs=1").code == 0
    summary = (run_folder() / "summary.json").read_text()
    assert f"digitnet --config-dir '{own}' data=digits" in summary
    assert "optimizer=mine" in summary


def test_flags_are_accepted_after_overrides(command: Command) -> None:
    done = command("seed=3", "--cfg", "job", "optimizer=adam", "--package", "optimizer")
    assert done.out.startswith("# @package optimizer\nname: adam\n")


def test_shown_configuration_is_checked_too(command: Command) -> None:
    done = command("--cfg", "job", "optimizer.lr=-1")
    assert "lr: -1" in done.out
    assert (done.code, done.err) == (2, "error: optimizer.lr=-1: should be greater than 0\n")
    assert command("--cfg", "job", "data=folder").code == 0  # a value that only its user has is missing
    assert command("--cfg", "job", "--package", "optimiser").err.startswith("error: no key 'optimiser' … did you mean")
    assert command("--cfg", "jb").err.startswith("error: argument --cfg: invalid choice: 'jb'")
    assert command("--cfg", "job", "--info").err.startswith("error: argument --info: not allowed with argument --cfg;")
    assert command("--package", "optimizer").err.startswith("error: --resolve and --package need --cfg;")


def test_misspelt_key_stops_a_sweep_before_its_first_job(command: Command) -> None:
    done = command("-m", "optimiser.lr=0.1,0.3", "seed=0,1")
    assert (done.code, done.err) == (2, "error: no key 'optimiser.lr' … did you mean 'optimizer.lr'?\n")
    assert not Path("outputs").exists()


def claim(composition: Composition) -> AbstractContextManager[RunFolder]:
    return RunFolder.claim(composition.run_dir, composition.hydra_files())


def test_a_folder_claimed_by_another_run_is_refused() -> None:
    """It may not have got beyond writing down its configuration."""
    ready = compose_run([*TINY, "hydra.run.dir=here"], Tree.at())
    other = compose_run([*TINY, "hydra.run.dir=here", "seed=1"], Tree.at())
    with claim(other):
        with (
            pytest.raises(DigitnetError, match="here: another process is working in this folder; wait for it"),
            claim(ready),
        ):
            pass
        assert "seed: 1" in Path("here/.hydra/config.yaml").read_text()
    with claim(ready):  # that one has left nothing but its configuration: it was stopped before it began
        assert "seed: 0" in Path("here/.hydra/config.yaml").read_text()
        write(Path("here/summary.json"), "{}")
    with pytest.raises(ConfigError, match="here: holds a run already"), claim(ready):
        pass


def test_overrides_that_are_no_strings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\['seed=1'\]: is not a string of the form KEY=VALUE"):
        compose_run([["seed=1"]], Tree.at())  # type: ignore[list-item]


def test_root_without_self_composes_without_warning() -> None:
    """A root without `_self_` makes Hydra warn; the order is what one expects."""
    write(Path("conf/mine.yaml"), "defaults: [config]\nseed: 7\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compose_run([], Tree.at(root="mine")).config.seed == 7


def test_incomplete_composition_reports_other_faults_only() -> None:
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


def test_composing_leaves_sys_path_and_working_directory_alone(tmp_path: Path) -> None:
    path, folder = list(sys.path), Path.cwd()
    with pytest.raises(ConfigError):
        load_config(["modle=lenet5"])
    assert (sys.path, Path.cwd()) == (path, folder)


def test_hydra_files_are_as_hydra_writes_them() -> None:
    files = compose_run(["seed=3", "hydra.run.dir=here"], Tree.at()).hydra_files()
    assert set(files) == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    config, node = yaml.safe_load(files["config.yaml"]), yaml.safe_load(files["hydra.yaml"])
    assert (config["seed"], "hydra" in config) == (3, False)
    assert list(node) == ["hydra"]
    assert node["hydra"]["runtime"]["output_dir"] == str(Path("here").absolute())
    assert yaml.safe_load(files["overrides.yaml"]) == ["seed=3"]


def test_root_of_an_earlier_version_composes() -> None:
    """Without the groups that were added since."""
    root = (CHECKOUT / "conf" / "config.yaml").read_text()
    write(
        Path("conf/config.yaml"),
        root.replace("  - tracker: none\n", "")
        .replace("  - loss: cross_entropy\n", "")
        .replace("  - debug: none\n", ""),
    )
    config = load_config([])
    assert (config.tracker.chosen, config.loss.label_smoothing) == ([], 0)


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


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OVERRIDES, min_size=1, max_size=3))
def test_no_override_leads_to_a_traceback(overrides: list[str]) -> None:
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
