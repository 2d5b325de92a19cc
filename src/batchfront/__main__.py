"""`python -m batchfront VERB`: the same as `batchfront VERB`."""

from __future__ import annotations

import sys

from batchfront.study.cli.main import command

if __name__ == "__main__":
    sys.exit(command())
