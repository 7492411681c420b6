"""`python -m digitnet`, the same as the console script."""

import sys

from digitnet.cli import main

if __name__ == "__main__":  # multiprocessing imports this file in child processes
    sys.exit(main())
