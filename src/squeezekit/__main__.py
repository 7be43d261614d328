"""`python -m squeezekit` is `squeezekit`."""

import sys

from squeezekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
