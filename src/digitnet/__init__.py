"""digitnet trains and compares small networks on handwritten digits."""

__version__ = "0.1.0"
