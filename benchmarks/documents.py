"""The documents' measured sections: each script here writes its own, so that no figure is typed by hand."""

import platform
from importlib.metadata import version
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def write_section(document: str, script: str, text: str, part: str = "") -> None:
    """Replace what is between `<!-- made by SCRIPT -->` and `<!-- end -->` in a document of the checkout.

    If a script makes several sections of a document, each is a `part`: `<!-- made by SCRIPT, PART -->`.
    """
    path = CHECKOUT / document
    name = f"{script}, {part}" if part else script
    head, begin, rest = path.read_text().partition(f"<!-- made by {name} -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    if not (begin and end):
        raise SystemExit(f"{document} has no section of {name}")
    path.write_text(f"{head}{begin}{text}{end}{tail}")


def processor() -> str:
    """The processor that the figures are of."""
    models = []
    if (info := Path("/proc/cpuinfo")).exists():
        models = [line.partition(": ")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{len(models) or '?'} cores of {models[0] if models else platform.machine()}"


def machine() -> str:
    """The processor and the installed PyTorch that the figures are of."""
    return f"{processor()}, torch {version('torch')}"
