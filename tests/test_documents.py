"""README.md and docs/: their commands and snippets run, their links work, scripts make their figures."""

import re
import runpy
import shlex
import shutil
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import CHECKOUT, TINY, Command, write
from digitnet import cli, commands
from digitnet.commands.compare_command import DEFAULT_PATH
from digitnet.config.compose import load_config
from digitnet.config.files import Tree, asks_for_sweep
from digitnet.sweep.plan import plan_sweep
from drawing import SHAPES, draw_ink

pytestmark = pytest.mark.slow

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (CHECKOUT / "docs").glob("*.md"))]
TEXTS = {page: (CHECKOUT / page).read_text() for page in PAGES}
SCRIPTS = {path.name: path.read_text() for path in (CHECKOUT / "benchmarks").glob("*.py")}
# Tables of one kind are of one version of torch.
KINDS = {
    "results.py": "accuracy",
    "sweeps.py": "accuracy",
    "evaluation.py": "accuracy",
    "scoring.py": "evaluation",
    "speed.py": "speed",
    "startup.py": "start-up",
    "tracking.py": "tracking",
}
UNMEASURED = "Not measured yet."
PROGRAMS = {"digitnet", "./dev", "pip", "python", "ray", "torchrun"}


@dataclass(frozen=True)
class Snippet:
    page: str
    language: str
    text: str


@dataclass(frozen=True)
class Section:
    """What a script has written into a page."""

    page: str
    script: str
    text: str


SNIPPETS = [
    Snippet(page, language, snippet)
    for page, text in TEXTS.items()
    for language, snippet in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
]
SECTIONS = [
    Section(page, script, section)
    for page, text in TEXTS.items()
    for script, section in re.findall(
        r"^<!-- made by (\S+?)(?:, \w+)? -->\n(.*?)^<!-- end -->$", text, re.DOTALL | re.MULTILINE
    )
]
YAML = [snippet.text for snippet in SNIPPETS if snippet.language == "yaml"]
PYTHON = [snippet for snippet in SNIPPETS if snippet.language == "python"]
MODULE = re.compile(r"# (\w+\.py), trained by: (digitnet .+)\n")


def _prose(page: str) -> str:
    """A page without its snippets."""
    return re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.DOTALL | re.MULTILINE)


def _commands() -> dict[str, list[str]]:
    """Every command in a snippet or inline, without its comment, with its words."""
    lines = [line for snippet in SNIPPETS if snippet.language == "sh" for line in snippet.text.splitlines()]
    inline = [code for page in PAGES for code in re.findall(r"`([^`\n]+)`", _prose(page))]
    lines += [code for code in inline if code.partition(" ")[0] in PROGRAMS and " " in code]
    lines = [re.split(r"\s+#\s", line)[0].strip() for line in lines]
    return {line: shlex.split(line) for line in sorted(set(lines)) if line}


COMMANDS = _commands()


def _folder_that_is_named(words: list[str]) -> tuple[str, str] | None:
    """The folder that the command expects, and the fixture that makes it."""
    for name in words:
        if name in ("RUN_DIR", "outputs"):
            return name, "run_dir"
        if name == "SWEEP_DIR":
            return name, "search_dir" if "--trials" in words else "sweep_dir"
    if words[1:2] in (["clean"], ["compare"], ["list"]) and "--help" not in words:
        return DEFAULT_PATH, "run_dir"
    return None


def _is_slow(words: list[str]) -> bool:
    return words[1:2] == ["tune"] or words == ["digitnet", "validate"] or "--schema-only" in words


def of(program: str) -> list[Any]:
    """The program's commands as parameters; those that train are slow."""
    return [
        pytest.param(
            words, id=line, marks=[pytest.mark.slow] if _folder_that_is_named(words) or _is_slow(words) else []
        )
        for line, words in COMMANDS.items()
        if words[0] == program
    ]


# Commands


def test_snippets_are_of_languages_that_are_tested() -> None:
    assert {snippet.language for snippet in SNIPPETS} == {"sh", "python", "yaml", "text"}
    assert [snippet.page for snippet in SNIPPETS if snippet.language == "text"] == ["README.md"]
    assert {words[0] for words in COMMANDS.values()} == PROGRAMS
    assert len(of("digitnet")) >= 40


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory, [*TINY], "run")


@pytest.fixture(scope="module")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory, ["-m", *TINY, "optimizer.lr=0.1,1"], "sweep")


@pytest.fixture(scope="module")
def search_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = ["optimizer.lr=0.1,1", "data.validation=300", "--trials=1"]
    return _made(tmp_path_factory, ["tune", *TINY, "trainer.epochs=1", *space], "sweep")


def _made(tmp_path_factory: pytest.TempPathFactory, arguments: list[str], kind: str) -> Path:
    folder = tmp_path_factory.mktemp("made") / kind
    assert cli.main([*arguments, f"hydra.{kind}.dir={folder}"]) == 0
    return folder


def _copy_named_folder(words: list[str], request: pytest.FixtureRequest) -> None:
    if named := _folder_that_is_named(words):
        name, fixture = named
        shutil.copytree(request.getfixturevalue(fixture), name)


def _write_snippets() -> None:
    for text in YAML:
        (name,) = re.findall(r"^# .*?(conf/\S+\.yaml)", text, flags=re.MULTILINE)
        write(Path(name), text)
    for snippet in PYTHON:
        if module := MODULE.match(snippet.text):
            write(Path(module[1]), snippet.text)


def _draw_pictures() -> None:
    """What docs/predict.md names."""
    Path("drawings").mkdir(exist_ok=True)
    for path, digit in (("photo.jpg", 5), ("drawings/3.png", 3), ("drawings/8.png", 8)):
        ink = draw_ink(SHAPES[digit][0], (300, 300), (60, 50, 200), 16)
        Image.fromarray((240 - 200 * ink).astype(np.uint8)).save(path)


def _check(arguments: list[str], command: Command) -> None:
    """Run what is quick, compose what trains."""
    if arguments[:1] == ["resume"]:
        arguments = [word.replace("launcher=ray", "launcher=local") for word in arguments]  # where there is no cluster
        arguments = [{"50": "2", "trainer.epochs=30": "trainer.epochs=3"}.get(word, word) for word in arguments]
    if arguments[:1] == ["predict"]:
        _draw_pictures()
    if arguments[:1] == ["clean"]:
        arguments = [*arguments, "--yes"]
    arguments = [word for word in arguments if word != "--dry-run" or arguments[0] == "clean"]
    arguments = [word for word in arguments if word != "--serve"]  # which ends by Ctrl-C
    if arguments[:1] == ["tune"]:
        arguments = [*arguments, *TINY, "trainer.epochs=1", "data.validation=300", "--trials=1"]
    if arguments[:1] and (arguments[0] in commands.NAMES or arguments[0].startswith("--")):
        outcome = command(*arguments)
        assert (outcome.code, outcome.err) == (0, "")
    elif "-m" in arguments or asks_for_sweep(arguments):
        plan = plan_sweep([word for word in arguments if word != "-m"], Tree.at())
        assert len(plan.jobs(plan.request.covering())) > 1
    else:
        load_config(arguments)


@pytest.mark.parametrize("words", of("digitnet"))
def test_digitnet_commands(
    words: list[str],
    command: Command,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where completion is installed
    monkeypatch.setenv("SHELL", "/bin/bash")
    _copy_named_folder(words, request)
    _write_snippets()
    _check(words[1:], command)


@pytest.mark.parametrize("words", of("torchrun"))
def test_torchrun_commands(words: list[str], command: Command, request: pytest.FixtureRequest) -> None:
    from torch.distributed.run import parse_args

    options = parse_args(words[1:])
    assert options.module
    assert options.training_script == "digitnet"
    _copy_named_folder(words, request)
    _check(options.training_script_args, command)


@pytest.mark.parametrize("words", of("./dev"))
def test_dev_commands(words: list[str]) -> None:
    assert len(words) == 2
    assert f"\n    {words[1]})" in (CHECKOUT / "dev").read_text()


@pytest.mark.parametrize("words", of("pip"))
def test_pip_commands(words: list[str]) -> None:
    assert words[:2] == ["pip", "install"]
    (extra,) = re.findall(r"^\.(?:\[(\w+)\])?$", words[2])
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extra == "" or extra in extras


@pytest.mark.parametrize("words", of("ray"))
def test_ray_commands(words: list[str]) -> None:
    assert words[1] == "start"
    assert {word.partition("=")[0] for word in words[2:]} <= {"--head", "--port", "--address"}


@pytest.mark.parametrize("words", of("python"))
def test_python_commands(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if words[1] == "-c":
        exec(words[2], {})
        return
    monkeypatch.setattr(sys, "argv", [words[1], "--help"])
    monkeypatch.setattr(sys, "path", [str(CHECKOUT / "benchmarks"), *sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(CHECKOUT / words[1]), run_name="__main__")
    assert ended.value.code == 0
    usage = capsys.readouterr().out
    assert [word for word in words[2:] if word.startswith("--") and f"{word} " not in usage] == []


# Snippets


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({snippet.page for snippet in PYTHON}))
def test_python_snippets(page: str, command: Command, run_dir: Path) -> None:
    shutil.copytree(run_dir, "RUN_DIR")
    few = yaml.safe_load((CHECKOUT / "conf" / "data" / "digits.yaml").read_text()) | {"enlarge_to": 1437}
    write(Path("conf/data/digits.yaml"), yaml.safe_dump(few))  # takes precedence over the packaged one
    names: dict[str, Any] = {}
    if page == "docs/predict.md":
        _draw_pictures()
    if page == "docs/export.md":
        for words in ("onnx --softmax", "safetensors", "pt2 --output mine.pt2"):
            assert command("export", "RUN_DIR", "--format", *words.split()).code == 0
    for snippet in PYTHON:
        if snippet.page != page:
            continue
        if module := MODULE.match(snippet.text):
            write(Path(module[1]), snippet.text)
            assert command("validate", *shlex.split(module[2])[1:]).code == 0
        else:
            exec(snippet.text, names)
    assert "result" in names or "logits" in names
    if "logits" in names:
        assert names["logits"].shape == (1, 10)
    assert page != "README.md" or len(names["result"].records) == 4


def test_yaml_snippets(command: Command) -> None:
    _write_snippets()
    mine, small = load_config(["experiment=mine"]), load_config(["experiment=small"])
    assert (mine.aug.name, mine.optimizer.lr, mine.trainer.batch_size) == ("distort", 0.01, 64)
    assert (small.optimizer.name, small.trainer.epochs) == ("adam", 3)
    usage = command("--help").out
    for text in YAML:
        first = re.findall(r"^# (\w[^.:]+)[.:]", text, flags=re.MULTILINE)[0]
        assert first in usage


@pytest.mark.slow
def test_output_in_the_readme_has_the_lines_of_a_run(run_dir: Path) -> None:
    (output,) = [snippet.text.splitlines() for snippet in SNIPPETS if snippet.language == "text"]
    log = (run_dir / "train.log").read_text().splitlines()
    header = next(line for line in log if line.startswith("epoch"))
    assert output[0] == header
    row = re.compile(r" *\d+/\d+ +[\d.]+ +\d\.\d{4} +\d+\.\d\d % +\d\.\d{4} +\d+\.\d\d % +\d+\.\d s")
    assert all(row.fullmatch(line) for line in log[log.index(header) + 1 : -2])
    assert [line for line in output[1:-2] if not row.fullmatch(line)] == ["..."]
    end = re.compile(r"test accuracy \d+\.\d\d % \(\d+ errors of \d+; 95 %: \d+\.\d\d to \d+\.\d\d\)")
    assert end.fullmatch(log[-2])
    assert end.fullmatch(output[-2])
    assert output[-1].partition(": ")[2] == "confusion.png, curves.png, misclassified.png"


# What the pages say


def test_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150
    assert len(TEXTS["README.md"].split()) <= 1300


@pytest.mark.parametrize("page", PAGES[1:])
def test_page_starts_with_its_question_and_a_command(page: str) -> None:
    assert re.match(r"# .+\n\n[^`#]+\?\n\n```sh\n", TEXTS[page])


@cache
def _anchors(page: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(page: str, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (CHECKOUT / page).parent / path if path else CHECKOUT / page
    if not file.exists():
        return True
    return bool(anchor) and anchor not in _anchors(str(file.resolve().relative_to(CHECKOUT)))


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_exist(page: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", _prose(page))
    assert [target for target in targets if not target.startswith("https://") and _broken(page, target)] == []


def test_readme_links_every_page_and_every_picture_is_shown() -> None:
    assert [page for page in PAGES[1:] if f"]({page})" not in TEXTS["README.md"]] == []
    text = "\n".join(TEXTS.values())
    pictures = [path.name for path in (CHECKOUT / "docs").glob("*.png")]
    assert [name for name in pictures if not re.search(rf"!\[[^]]+\]\((?:docs/)?{name}\)", text)] == []


def test_groups_and_options_are_those_of_conf() -> None:
    tree = Tree.at()
    rows = dict(re.findall(r"^\| `([\w/]+)` \| (.+) \|$", TEXTS["docs/configuration.md"], flags=re.MULTILINE))
    groups = {name.rpartition("/")[0] for name in tree.names} - {""}
    assert groups - rows.keys() == set()
    for group in groups:
        assert set(re.findall(r"`(\w+)`", rows[group])) == set(tree.options(group)), group


def test_every_key_of_the_root_is_documented() -> None:
    root = yaml.safe_load((CHECKOUT / "conf" / "config.yaml").read_text())
    keys = {key for key, value in root.items() if not isinstance(value, dict) and key != "defaults"}
    keys |= {f"{section}.{key}" for section in ("trainer", "checkpoint") for key in root[section]}
    text = "\n".join(TEXTS.values())
    assert [key for key in sorted(keys) if f"| `{key}` |" not in text] == []


def test_tests_that_are_named_exist() -> None:
    names = re.findall(r"`(test_\w+)`", "\n".join(TEXTS.values()))
    assert len(names) >= 20
    sources = "\n".join(path.read_text() for path in (CHECKOUT / "tests").rglob("test_*.py"))
    assert [name for name in names if f"\ndef {name}(" not in sources] == []


# Measured sections


def test_sections_are_written_by_the_scripts_that_they_name() -> None:
    assert len(SECTIONS) == sum(text.count("<!-- made by ") for text in TEXTS.values()) >= 5
    written = {
        (page, f"benchmarks/{name}")
        for name, text in SCRIPTS.items()
        for page in re.findall(r'(?:write_section|Section)\("([^"]+)"', text)
    }
    assert {(section.page, section.script) for section in SECTIONS} == written
    for section in SECTIONS:
        assert f"Remade by `python {section.script}" in section.text


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: f"{section.page}: {section.script}")
def test_tables_say_n_of_three_at_least(section: Section) -> None:
    counts = [int(count) for count in re.findall(r"\bn = (\d+)", section.text)]
    for table in re.findall(r"(?:^\|.*\n)+", section.text, flags=re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in table.splitlines()]
        assert {len(row) for row in rows} == {len(header)}
        if "n" in header:
            counts += [int(row[header.index("n")]) for row in rows]
            assert not any("±" in cell for row in rows for cell in row if int(row[header.index("n")]) < 3)
    assert counts or section.text.startswith(UNMEASURED)
    assert min(counts, default=3) >= 3


def test_readme_has_three_headline_results() -> None:
    (section,) = [section for section in SECTIONS if section.page == "README.md"]
    assert len(re.findall(r"^\| `digitnet .+ ± .+ % \| \d+ \|( .+ \|)?$", section.text, flags=re.MULTILINE)) == 3
    assert "](docs/results.md)" in TEXTS["README.md"]


@pytest.mark.parametrize("kind", sorted(set(KINDS.values())))
def test_tables_of_one_kind_are_of_one_version_of_torch(kind: str) -> None:
    versions = [
        re.findall(r"\btorch (\d+\.\d+\.\d+)", section.text)
        for section in SECTIONS
        if KINDS[Path(section.script).name] == kind and not section.text.startswith(UNMEASURED)
    ]
    assert all(len(found) == 1 for found in versions)
    assert len({found[0] for found in versions}) == 1
