"""`python -m digitnet`, and the console script."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the working directory, where any file could pose as a module; `model=custom` looks there itself

import os
import signal


def main() -> int:
    """Run the command line of this process, and return the exit code. Ctrl-C prints nothing while it is imported."""
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from digitnet.cli import main as run

    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    return run()


if __name__ == "__main__":
    sys.exit(main())
