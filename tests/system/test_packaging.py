"""What is shipped, for which Pythons, and how `./dev` and the GitHub workflows install it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from conftest import CHECKOUT, write

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
ENVIRONMENT = dict(os.environ)  # before the tests keep each other from the network
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def test_every_package_is_shipped() -> None:
    source = CHECKOUT / "src"
    folders = {path.parent.relative_to(source) for path in (source / "digitnet").rglob("*.py")}
    assert all((source / folder / "__init__.py").is_file() for folder in folders)
    packages = [*(".".join(folder.parts) for folder in folders), "digitnet.conf"]
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages)


def requirements(python: str) -> list[str]:
    """Those for a version of Python: pip itself evaluates markers for the Python that runs it."""
    parsed = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    return [f"{one.name}{one.specifier}" for one in parsed if one.marker is None or one.marker.evaluate(environment)]


def test_each_python_gets_one_hydra() -> None:
    specifier = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [python for python in ["3.10", *PYTHONS, "3.15"] if python in specifier] == PYTHONS
    for python in PYTHONS:
        hydra, omegaconf = (
            [line for line in requirements(python) if line.startswith(name)] for name in ("hydra-core", "omegaconf")
        )
        assert (len(hydra), len(omegaconf)) == (1, 1)
        assert ("1.4.0rc3" in hydra[0], "2.4.1rc1" in omegaconf[0]) == (python == "3.14", python == "3.14")


@pytest.mark.network
@pytest.mark.slow
def test_requirements_resolve_for_python_3_14(tmp_path: Path) -> None:
    """pip finds wheels of everything, without installing any."""
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-", "--target", str(tmp_path / "nowhere")]
    options += ["--python-version", "3.14", "--only-binary=:all:"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *requirements("3.14")],
        capture_output=True, text=True, timeout=300, env=ENVIRONMENT,
    )  # fmt: skip
    if done.returncode and re.search(r"Could not fetch|onnection|\(from versions: none\)", done.stderr):
        pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    found = {one["metadata"]["name"].lower(): one["metadata"]["version"] for one in json.loads(done.stdout)["install"]}
    assert re.match(r"1\.4\.", found["hydra-core"])
    assert re.match(r"2\.4\.", found["omegaconf"])
    assert {"torch", "pydantic", "numpy"} <= set(found)


STUB = """#!{sh}
case "$1" in
    -c) exec {python} -c "import sys; sys.version_info = {version}; $2" ;;
    *) exec {python} {here}/make_venv.py "$0" "$@" ;;
esac
"""
MAKE_VENV = """
import pathlib, sys
with open(pathlib.Path(__file__).parent / "calls", "a") as file:
    print(pathlib.Path(sys.argv[1]).name, *sys.argv[2:], file=file)
folder = pathlib.Path(sys.argv[-1]) / "bin"
folder.mkdir(parents=True)
for name in ("python", "digitnet"):
    (folder / name).write_text("#!/bin/sh\\necho " + name + ' "$@"\\n')
    (folder / name).chmod(0o755)
"""


class Shell:
    """./dev on a PATH with nothing but stubs, and what it calls of the system's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        write(folder / "make_venv.py", MAKE_VENV.replace("\\\\", "\\"))
        for name in ("sh", "dirname", "touch", "sed", "mkdir"):
            (folder / name).symlink_to(str(shutil.which(name)))

    def add(self, name: str, version: tuple[int, int]) -> None:
        """A Python, or uv."""
        text = STUB.format(sh=shutil.which("sh"), python=sys.executable, version=version, here=self.folder)
        write(self.folder / name, text)
        (self.folder / name).chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        environment |= {"PATH": str(self.folder), "VENV": str(self.folder / "venv")}
        return subprocess.run(
            [str(shutil.which("sh")), str(CHECKOUT / "dev"), *arguments],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip


@pytest.fixture
def stubs(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "bin")


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_dev_run_takes_python(stubs: Shell, minor: int) -> None:
    """Ubuntu and Fedora ship 3.14 as python3."""
    stubs.add("python3", (3, minor))
    done = stubs.run("run", "seed=1")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "digitnet seed=1"), done.stderr
    assert stubs.calls.read_text() == f"python3 -m venv {stubs.folder}/venv\n"


def test_dev_run_finds_a_python_that_is_suitable(stubs: Shell) -> None:
    stubs.add("python3", (3, 10))
    stubs.add("python3.14", (3, 14))
    stubs.add("python3.13", (3, 13))
    assert stubs.run("run").returncode == 0
    assert stubs.calls.read_text().startswith("python3.14 ")


@pytest.mark.parametrize("version", [None, (3, 10), (3, 15)])
def test_dev_run_without_a_suitable_python_uses_uv(stubs: Shell, version: tuple[int, int] | None) -> None:
    if version:
        stubs.add("python3", version)
    stubs.add("uv", (0, 0))
    done = stubs.run("run", "seed=1")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "digitnet seed=1"), done.stderr
    assert stubs.calls.read_text() == f"uv venv --quiet --seed --python 3.12 {stubs.folder}/venv\n"


def test_dev_run_without_python_and_uv_says_what_to_do(stubs: Shell) -> None:
    message = "error: digitnet needs Python 3.11 to 3.14; set PYTHON to one, or install uv, which brings one\n"
    done = stubs.run("run")
    assert (done.returncode, done.stderr) == (1, message)
    stubs.add("uv", (0, 0))
    stubs.add("mine", (3, 10))
    done = stubs.run("run", PYTHON="mine")  # what is asked for is not replaced
    assert (done.returncode, done.stderr) == (1, message)


def test_dev_lists_its_verbs(stubs: Shell) -> None:
    done = stubs.run()
    assert done.returncode == 2
    for verb in ("run", "test", "test-hydra-next", "lint", "benchmark"):
        assert re.search(rf"^\./dev {verb}\b", done.stderr, flags=re.MULTILINE)


def workflow(name: str) -> Any:
    return yaml.safe_load((CHECKOUT / ".github" / "workflows" / name).read_text())


def test_pull_requests_are_linted_and_tested() -> None:
    content = workflow("test.yml")
    triggers = content[True]  # `on`, to YAML 1.1
    assert "pull_request" in triggers
    assert content["permissions"] == {"contents": "read"}
    assert "secrets" not in (CHECKOUT / ".github" / "workflows" / "test.yml").read_text()
    matrix = content["jobs"]["test"]["strategy"]["matrix"]
    assert matrix == {"os": ["ubuntu-latest", "macos-latest"], "python": PYTHONS}


@pytest.mark.parametrize("name", sorted(path.name for path in (CHECKOUT / ".github" / "workflows").glob("*.yml")))
def test_the_workflows_commands_exist(name: str) -> None:
    steps = [step for job in workflow(name)["jobs"].values() for step in job["steps"]]
    commands = [step["run"].split() for step in steps if "run" in step]
    assert commands
    verbs = set(re.findall(r"^    ([a-z-]+)\)$", (CHECKOUT / "dev").read_text(), flags=re.MULTILINE))
    assert {"run", "test", "lint"} <= verbs
    for program, verb, *_ in commands:
        assert (program, verb) in (("pip", "install"), ("digitnet", "validate")) or (
            program == "./dev" and verb in verbs
        )
    assert os.access(CHECKOUT / "dev", os.X_OK)
