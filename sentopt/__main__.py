"""`python -m sentopt` is the `sentopt` command."""

from __future__ import annotations

import sys

from sentopt.cli import main

if __name__ == "__main__":
    sys.exit(main())
