"""`python -m study VERB`."""

from __future__ import annotations

import sys
from pathlib import Path

# Before the current folder, which may hold a storage.py of its own.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from study.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
