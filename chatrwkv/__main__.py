"""`python -m chatrwkv`."""

import sys

from chatrwkv.cli import main

if __name__ == "__main__":
    sys.exit(main())
