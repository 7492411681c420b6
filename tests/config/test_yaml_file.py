"""A YAML file by itself: what cannot be read, keys given twice, tags, interpolations."""

import pytest

from conftest import Command
from mistakes import GLOBAL, Mistake, assert_answered

MISTAKES: list[Mistake] = [
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
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: 1\n---\nlr: 2\n"},
        "optimizer=x",
        "the file is not YAML: a second document; leave out the '---' between them (conf/optimizer/x.yaml:3)",
    ),
    (
        {"optimizer/x.yaml": b"#" * 1_000_001},
        "optimizer=x",
        "the file has more than 1,000,000 bytes: no configuration (conf/optimizer/x.yaml)",
    ),
    (
        {
            "experiment/x.yaml": GLOBAL
            + "a0: &a0 [1, 1]\n"
            + "".join(f"a{n}: &a{n} [{', '.join(10 * [f'*a{n - 1}'])}]\n" for n in range(1, 10))
        },
        "experiment=x",
        "the file has 3,456,790,123 values when its aliases are written out; at most 10,000 (conf/experiment/x.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "- 1\n- 2\n"},
        "optimizer=x",
        "the file has no keys; it should have lines KEY: VALUE, this is a list (conf/optimizer/x.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "hello\n"},
        "optimizer=x",
        "the file has no keys; it should have lines KEY: VALUE, this is 'hello' (conf/optimizer/x.yaml:1)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: 1\nlr: 2\n"},
        "optimizer=x",
        "'lr' occurs twice, first in line 2 (conf/optimizer/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "trainer:\n  epochs: 3\n  epochs: 4\n"},
        "experiment=x",
        "'trainer.epochs' occurs twice, first in line 3 (conf/experiment/x.yaml:4)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: !!python/object/apply:os.system [ls]\n"},
        "optimizer=x",
        "the tag !!python/object/apply:os.system is not allowed in configs (conf/optimizer/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: !foo 3\n"},
        "optimizer=x",
        "the tag !foo is not allowed in configs (conf/optimizer/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\nlr: &a [*a]\n"},
        "optimizer=x",
        "the alias in 'lr.0' leads back to itself (conf/optimizer/x.yaml:2)",
    ),
    ({"config.yaml": "defaults: [\n"}, "seed=1", "the file is not YAML: * (conf/config.yaml:2)"),
    (
        {"experiment/x.yaml": GLOBAL + "trainer.epochs: 3\n"},
        "experiment=x",
        "'trainer.epochs': in YAML write 'trainer:' and below it, indented, 'epochs: …' (conf/experiment/x.yaml:2)",
    ),
    (
        {"optimizer/x.yaml": "defaults: [sgd]\n<<: {lr: 3}\n"},
        "optimizer=x",
        "'<<' is not allowed in configs; to include other files, use 'defaults' (conf/optimizer/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "init_from: {{ here }}\n"},
        "experiment=x",
        "a key must be a word; quote a value that begins with { or [ (conf/experiment/x.yaml:2)",
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
    (
        {"experiment/x.yaml": GLOBAL + "1:\n"},
        "experiment=x",
        "the key '1' is not text in YAML; use another name (conf/experiment/x.yaml:2)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "seed: ${sed\n"},
        "experiment=x",
        "seed=${sed: the interpolation is not closed; write ${KEY} (conf/experiment/x.yaml:2)",
    ),
]


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_a_file_that_cannot_be_read_is_reported_with_its_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    assert_answered(command, monkeypatch, files, typed, answer)
