"""The command line, as `python -m jattn`."""

import sys

from jattn.cli import main

if __name__ == "__main__":
    sys.exit(main())
