"""digitnet trains and compares small networks on handwritten digits."""

from typing import TYPE_CHECKING

from digitnet.version import __version__ as __version__

if TYPE_CHECKING:
    from digitnet.api import resume as resume
    from digitnet.api import run as run

__all__ = ["resume", "run"]


def __getattr__(name: str) -> object:
    """`run` and `resume`, which need torch, on first use: `digitnet --help` and tab completion need none."""
    if name in __all__:
        from digitnet import api

        return getattr(api, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
