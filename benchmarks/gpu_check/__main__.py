"""Everything that only a CUDA device can show, in one table and under eight minutes.

    python -m benchmarks.gpu_check [--device cuda] [--only peak fits] [--seconds 455] [--out FOLDER]

Needs no network. Told peaks are held against `max_memory_allocated` of a plain loop, told times
against CUDA events, predictions against told peaks; workers share a device, run out of memory, lose
their context, are killed and resumed. On a CPU it is a dry run of the program itself. Exit code 1:
a row failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from benchmarks.gpu_check.bench import Bench
from benchmarks.gpu_check.drive import NAMES, Driver
from benchmarks.gpu_check.rows import FAILED, table

SECONDS = 455.0
DRY_SECONDS = 1800.0


def main(argv: list[str] | None = None) -> int:
    """The exit code."""
    asked = _parser().parse_args(argv)
    device = _device(asked.device)
    if asked.one is not None:
        bench = Bench(device=device, folder=Path(asked.folder))
        for row in import_module(f"benchmarks.gpu_check.checks.{asked.one}").check(bench):
            print(row.line(), flush=True)
        return 0
    seconds = asked.seconds or (SECONDS if device.startswith("cuda") else DRY_SECONDS)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        driver = Driver(device=device, folder=Path(folder), seconds=seconds)
        rows = driver.run(asked.only)
    found = table(rows, device=_name(device))
    print(found)
    if asked.out is not None:
        out = Path(asked.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(f"{found}\n")
        (out / "log.txt").write_text("\n".join(driver.log))
    return int(any(row.verdict == FAILED for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="auto", help="cuda, cuda:1 or cpu; default: auto")
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES, metavar="CHECK")
    parser.add_argument("--seconds", type=float, help=f"for all of them; default: {SECONDS:.0f}")
    parser.add_argument("--out", help="a folder for table.md and log.txt")
    parser.add_argument("--one", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser


def _device(name: str) -> str:
    from batchfront.objectives.device.names import resolve_device, why_no_accelerator

    device = resolve_device(name)
    why = why_no_accelerator() if device == "cpu" else None
    print(f"on {device}{f': {why}' if why else ''}", file=sys.stderr)
    return device


def _name(device: str) -> str:
    import torch

    from batchfront.objectives.device.hardware import hardware

    found = hardware(device)
    return f"{found.get('gpu', found['cpu'])}, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
