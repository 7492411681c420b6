"""`python -m digitnet`, the same as the console script."""

import sys

from digitnet.cli import main

if __name__ == "__main__":  # a process that works for this one imports this file
    sys.exit(main())
