"""``python -m flows.local``."""

import sys

from flows.local.command import main

if __name__ == "__main__":
    sys.exit(main())
