"""What Hydra would import, call or look for, and digitnet does not."""

import pytest

from conftest import CHECKOUT, Command
from digitnet.config import guard
from digitnet.errors import ConfigError
from mistakes import FOREIGN, GLOBAL, Mistake, assert_answered

# Eleven keys, each of which refers ten times to the next: "{}" stands for what is before the next one's name.
LEVELS = "".join(f"    a{n}: {10 * ('${{}a' + str(n + 1) + '}')}\n" for n in range(11)) + "    a11: x\n"
HARMLESS = "a config cannot make digitnet import or call anything; leave it out"

MISTAKES: list[Mistake] = [
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
        "hydra.job_logging: only Hydra's own options can be chosen (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  hydra_logging:\n    handlers: {a: {class: trap.spring}}\n"},
        "experiment=x",
        "hydra.hydra_logging: only Hydra's own options can be chosen (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "hydra:\n  launcher:\n    _target_: trap.spring\n"},
        "experiment=x",
        "hydra/launcher: digitnet has its own launchers, local, ray, serial, slurm; choose one of them"
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
        {"experiment/x.yaml": GLOBAL + "model:\n  kwargs:\n" + LEVELS.replace("{}", "model.kwargs.")},
        "experiment=x",
        "model.kwargs.a0: its interpolations take more than 10,000 lookups; write the value itself"
        " (conf/experiment/x.yaml:4)",
    ),
    (
        {
            "config.yaml": "defaults: []\n"
            + LEVELS.replace("    a", "a").replace("{}", "")
            + "hydra:\n  searchpath: ${a0}\n"
        },
        "seed=1",
        "hydra.searchpath: its interpolations take more than 10,000 lookups; write the value itself",
    ),
    (
        {"config.yaml": "defaults: []\nhydra: ${h}\nh:\n  searchpath: [pkg://trap]\n"},
        "seed=1",
        f"'hydra' is a group of keys; write keys of hydra below 'hydra:', indented (conf/config.yaml:2)\n{FOREIGN}",
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
        "hydra.job_logging: only Hydra's own options can be chosen (conf/experiment/x.yaml:3)",
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
        "model.target=trap:Net: a network of your own in a file with the name of a packaged one; rename the file"
        " (conf/model/lenet5.yaml:2)",
    ),
    (
        {
            "config.yaml": (CHECKOUT / "conf" / "config.yaml").read_text().replace("model: lenet5", "model: mine"),
            "model/mine.yaml": "defaults: [custom]\ntarget: trap:Net\n",
        },
        "seed=1",
        "model.target=trap:Net: a network of your own is imported only if you choose it; add model=mine"
        " (conf/model/mine.yaml:2)",
    ),
    ({}, "hydra.output_subdir=x", "hydra.output_subdir: is always .hydra; leave it out"),
    ({}, "+hydra.job.env_copy=[PATH]", f"hydra.job.env_copy: {HARMLESS}"),
    (
        {},
        "hydra.job.chdir=true",
        "hydra.job.chdir: digitnet does not change the working directory; leave it out",
    ),
    ({}, "++hydra.run.dri=x", "no key 'hydra.run.dri' … did you mean 'hydra.run.dir'?"),
    ({}, "seed=1\x07", "'seed=1\\x07': holds a character that cannot be printed; leave it out"),
    ({}, "+hydra.callbacks.x._target_=trap.spring", f"hydra.callbacks: {HARMLESS}"),
    ({}, "+model._target_=trap.spring", "no key 'model._target_'; there are dropout, init, name"),
]


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_a_config_cannot_make_hydra_import_or_call_anything(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    assert_answered(command, monkeypatch, files, typed, answer)


@pytest.mark.parametrize("reference", ["k.", ".", "k[", "oc.select:k.", "oc.select:", "hydra:k."])
def test_interpolations_of_many_levels_are_refused(reference: str) -> None:
    """Ten levels of ten would take longer than anybody waits; a chain of a hundred takes a hundred lookups."""
    before, after = ("k[", "]") if reference == "k[" else (reference, "")
    top = {"oc.select:": "", "hydra:k.": "hydra.k."}.get(reference, "k.")

    def levels(count: int, times: int) -> dict[str, object]:
        content: dict[str, object] = {f"a{n}": times * f"${{{before}a{n + 1}{after}}}" for n in range(count)}
        for part in reversed(top.split(".")[:-1]):
            content = {part: content}
        return content

    guard.check_interpolations(levels(100, 1))
    guard.check_interpolations(levels(3, 10))
    with pytest.raises(ConfigError, match=f"{top}a0: its interpolations take more than 10,000 lookups"):
        guard.check_interpolations(levels(10, 10))


def test_interpolations_that_lead_back_are_left_to_the_resolver() -> None:
    guard.check_interpolations({"a": "${b}", "b": "${a}", "c": "${c}"})
    with pytest.raises(ConfigError, match="in a chain that is too long"):
        guard.check_interpolations({f"a{n}": f"${{a{n + 1}}}" for n in range(5000)})


@pytest.mark.parametrize(("part", "option"), [("launcher", "serial"), ("sweeper", "basic")])
@pytest.mark.parametrize("chosen", [[], ["hydra/{part}=lenet5"]])  # another removal after a choice that does not exist
def test_launcher_and_sweeper_cannot_be_removed(part: str, option: str, chosen: list[str], command: Command) -> None:
    removed = option if not chosen else "lenet5"
    done = command("--cfg", "job", *(word.format(part=part) for word in chosen), f"~hydra/{part}={removed}")
    assert done.code == 2
    assert done.err == (
        f"error: hydra/{part}: was removed, and digitnet needs one; leave that out, or set hydra/{part}={option}\n"
    )
