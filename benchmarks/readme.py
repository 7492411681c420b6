"""The README's measured sections: each script here writes its own, so that no figure is typed by hand."""

import platform
from importlib.metadata import version
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def write_section(script: str, text: str) -> None:
    """Replace what stands between `<!-- made by SCRIPT -->` and `<!-- end -->` in README.md."""
    path = CHECKOUT / "README.md"
    head, begin, rest = path.read_text().partition(f"<!-- made by {script} -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    if not (begin and end):
        raise SystemExit(f"README.md has no section of {script}")
    path.write_text(f"{head}{begin}{text}{end}{tail}")


def machine() -> str:
    """The processor and the PyTorch that the figures are of."""
    models = []
    if (info := Path("/proc/cpuinfo")).exists():
        models = [line.partition(": ")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{len(models) or '?'} cores of {models[0] if models else platform.machine()}, torch {version('torch')}"
