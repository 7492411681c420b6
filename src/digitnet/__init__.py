"""digitnet trains and compares small networks on handwritten digits."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from digitnet.api import run as run

__version__ = "0.1.0"
__all__ = ["run"]


def __getattr__(name: str) -> object:
    """`run`, which needs torch, on first use: `digitnet --help` and tab completion need none."""
    if name == "run":
        from digitnet.api import run

        return run
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
