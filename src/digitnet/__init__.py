"""digitnet trains and compares small networks on handwritten digits."""

from typing import TYPE_CHECKING

from digitnet.version import __version__ as __version__

if TYPE_CHECKING:
    from digitnet.api import load as load
    from digitnet.api import resume as resume
    from digitnet.api import run as run

__all__ = ["load", "resume", "run"]


def __getattr__(name: str) -> object:
    """Import these on first use: they import torch, which `--help` and tab completion do not need."""
    if name in __all__:
        from digitnet import api

        return getattr(api, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
