"""Files are replaced whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from digitnet.atomic import SCRATCH_PREFIX, write_atomically


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
            seen.append(f"{name} {of.name}")
            return function(*arguments)

        return call

    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc")
    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("replace", Path.replace))
    write_atomically(tmp_path / "last.pt", b"new")
    assert seen == [f"fsync {SCRATCH_PREFIX}last.pt", "replace last.pt", f"fsync {tmp_path.name}"]
