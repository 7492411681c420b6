"""`python -m digitnet`, the same as the console script."""

import sys

from digitnet.cli import main

sys.exit(main())
