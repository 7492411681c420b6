"""The versions of packages and the git commit that a run's results depend on."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from digitnet.version import __version__


def versions() -> dict[str, str]:
    """`versions` of summary.json."""
    return {
        "digitnet": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "hydra-core")},
    }


def git_state() -> dict[str, Any] | None:
    """`git` of summary.json: the commit of this code, if it runs from a checkout."""
    folder = Path(__file__).parent

    def ask(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", __file__)
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
