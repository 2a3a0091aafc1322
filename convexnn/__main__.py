"""``python -m convexnn``, the same as the command ``convexnn``."""

import sys

from convexnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
