"""What every benchmark does with its rows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows `--json OUT`."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, metavar="OUT", help="write the rows to this file")
    return made


def some_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    """The type of an option that takes `a,b`."""

    def parse(text: str) -> list[str]:
        asked = text.split(",")
        for name in asked:
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(names)}")
        return asked

    return parse


def write(rows: Sequence[dict[str, Any]], out: Path | None) -> None:
    """Write the rows as a JSON list, where asked for."""
    if out is not None:
        out.write_text(json.dumps(rows, indent=2) + "\n")


def table_name(path: Path) -> str:
    """The table's name, without its endings."""
    return path.name.removesuffix(".gz").removesuffix(".csv")
