"""Files are replaced whole or not at all."""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import write
from digitnet import atomic
from digitnet.atomic import SCRATCH_PREFIX, read_regular, write_atomically


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new and only half")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]  # no unfinished file is left


def test_content_is_synced_before_the_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content, name, folder: in another order a loss of power could leave an empty file, or none, under the name."""
    seen: list[str] = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            of = Path(f"/proc/self/fd/{arguments[0]}").readlink() if name == "fsync" else arguments[1]
            seen.append(f"{name} {re.sub('[0-9a-f]{16}', '…', of.name)}")
            return function(*arguments)

        return call

    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc")
    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("replace", Path.replace))
    write_atomically(tmp_path / "last.pt", b"new")
    assert seen == [f"fsync {SCRATCH_PREFIX}…", "replace last.pt", f"fsync {tmp_path.name}"]


def test_writers_of_one_path_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def draw(number: int) -> None:
        try:
            for _ in range(20):
                write_atomically(tmp_path / "y.png", bytes([number]) * 1000)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [path.name for path in tmp_path.iterdir()] == ["y.png"]
    assert len(set((tmp_path / "y.png").read_bytes())) == 1


def test_file_that_is_replaced_may_be_a_link_which_is_not_followed(tmp_path: Path) -> None:
    write(Path("victim"), "precious")
    Path("y.png").symlink_to("victim")
    write_atomically(Path("y.png"), b"new")
    assert (Path("victim").read_text(), Path("y.png").read_bytes()) == ("precious", b"new")


def test_name_of_an_unfinished_file_cannot_be_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor would a link of that name be followed."""
    write(Path("victim"), "precious")
    Path(f"{SCRATCH_PREFIX}0").symlink_to("victim")
    monkeypatch.setattr("secrets.token_hex", lambda _: "0")
    with pytest.raises(OSError, match="File exists"):
        write_atomically(Path("y.png"), b"new")
    assert Path("victim").read_text() == "precious"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/dev/zero"), "is a link"),
        (os.mkfifo, "not a file"),
        (os.mkdir, "not a file"),
        (lambda path: path.write_bytes(b"12345"), "too large to be one of digitnet's"),
    ],
    ids=["link", "pipe", "folder", "large"],
)
def test_only_regular_files_of_bounded_size_are_read(
    make: Callable[[Path], object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "LARGEST_TEXT", 4)
    make(Path("summary.json"))
    with pytest.raises(OSError, match=reason) as caught:
        read_regular(Path("summary.json"))
    assert caught.value.filename == "summary.json"
