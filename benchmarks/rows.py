"""What every benchmark does with its rows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def parser(description: str | None) -> argparse.ArgumentParser:
    """With `--json OUT`."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, metavar="OUT", help="write the rows to this file")
    return made


def write(rows: Sequence[dict[str, Any]], out: Path | None) -> None:
    """As a JSON list, where asked for."""
    if out is not None:
        out.write_text(json.dumps(rows, indent=2) + "\n")
