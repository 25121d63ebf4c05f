"""`python -m te`: the command `te`."""

import sys

from te.cli import main

if __name__ == "__main__":
    sys.exit(main())
