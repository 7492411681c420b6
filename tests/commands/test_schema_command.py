from pathlib import Path

from conftest import Command
from digitnet.config.json_schema import json_schemas


def test_schemas_are_written_to_the_folder(command: Command) -> None:
    assert command("schema", "a/b").out == f"wrote {len(json_schemas())} schemas to a/b\n"
    assert {path.stem for path in Path("a/b").iterdir()} == set(json_schemas())
    Path("file").write_text("")
    done = command("schema", "file/b")
    assert (done.code, done.err) == (1, "error: file/b: Not a directory\n")
    assert command("schema").err == (
        "error: the following arguments are required: folder; see digitnet schema --help\n"
    )
