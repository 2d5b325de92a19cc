"""What people, scripts and attackers may hand to the command line, and what must come of it."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from batchfront.study.cli.main import main, parser
from batchfront.study.show import LONGEST_LINE

DEEPER = int(os.environ.get("BATCHFRONT_TEST_DEEPER", "1"))  # times as many inputs
WORKS, REFUSED = "works", "is refused"
SOUND = (WORKS, REFUSED)
PROGRESS = ("warning: ", "note: ", "probing batch sizes", "recording ", "batch size ")
TABLE = "task,optimizer,batch_size,learning_rate,seed,epoch,train_loss,val_accuracy,train_seconds,"
TABLE += "peak_memory_bytes\n" + "".join(
    f"t,sgd,{size},{rate},0,{epoch},{1 / epoch},{0.3 * epoch},{0.1 * epoch},{1000 * size}\n"
    for size in (8, 16)
    for rate in (0.1, 0.2)
    for epoch in (1, 2)
)


def inputs(n: int) -> settings:
    """How many inputs a property is tried with: always the same ones."""
    return settings(
        max_examples=n * DEEPER,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],  # what fails is short: no time goes into shrinking
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@contextlib.contextmanager
def folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A new folder with these files, to run in."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        for path, content in files.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)
        yield Path(name)


def outcome(argv: Sequence[str], files: Mapping[str, bytes] | None = None) -> str:
    """What comes of a verb: WORKS, REFUSED, another exit code, or how it breaks its word.

    Whatever is refused is so in one printable line, and leaves nothing behind.
    """
    out, err = io.StringIO(), io.StringIO()
    with folder(files or {}) as here:
        before = _names(here)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(argv)
        after = _names(here)
    if code != 2:
        print(err.getvalue(), file=sys.stderr)  # for whoever reads why a test failed
        return f"exit code {code}" if code else WORKS
    if after != before:
        return f"{sorted(after - before)} is left behind, {sorted(before - after)} is gone"
    return _broken_word(out.getvalue(), err.getvalue()) or REFUSED


def _broken_word(out: str, err: str) -> str:
    """What is wrong with what a verb says that refuses something; "" if nothing."""
    lines = err.removesuffix("\n").split("\n")
    told = [line for line in lines if not line.startswith(PROGRESS)]
    if out or len(told) != 1:
        return f"it says {out!r} and {len(told)} lines: {err}"
    (line,) = told
    sound = line.startswith("error: ") and line.isprintable() and len(line) <= LONGEST_LINE
    return "" if sound else f"it says {line!r}"


def _names(here: Path) -> set[str]:
    """What lies there, but for what is gone when the process ends."""
    passing = ("-wal", "-shm", "__pycache__")
    return {str(p) for p in here.rglob("*") if not any(map(str(p).__contains__, passing))}


def actions() -> list[tuple[str, argparse.Action]]:
    """Every option and file of every verb that takes a value."""
    (verbs,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return [
        (verb, action)
        for verb, one in verbs.choices.items()
        for action in one._actions
        if action.nargs != 0
    ]


NUMBERS = st.one_of(
    st.sampled_from(
        ["", "nan", "inf", "-inf", "1e400", "9" * 400, "-" + "9" * 400, "9" * 5000, "1e-320", "0",
         "-1", "-1e-320", "1e308", "-0.0", "0x10", "1_0", "٣", "1e5", "1.5", str(2**31), str(2**63),
         "1\n", "  3", "loss:" + "9" * 400, "5:1e400", "9" * 400 + "GiB", "1.1.1", "1e-320GB"]
    ),
    st.integers().map(str),
    st.floats().map(repr),
)  # fmt: skip
RANGES = st.one_of(
    st.sampled_from(
        ["1:2**4000", f"1:{2**4000}", f"{2**4000}", f"1:{'9' * 5000}", f"3:{2**1100}",
         f"{2**1100 + 1}", "nan:nan", "1:inf", "1e-320:1", "1e-320:1e308", "0:1", "1:2:3", ":",
         "8:16:", "-8:8", str(2**40)]
    ),
    st.tuples(NUMBERS, NUMBERS).map(":".join),
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "\0", "a\0b", "\udcff", "é\udc80", "a" * 300, "a" * 5000, "a\nb", "\x1b[31mred",
         "..", "/", ".", "/dev/null", "/dev/zero/x", "a/" * 3000, "\u202e", "💥", "%", "%s{0}",
         "--", "t.csv:", "t.csv:x", "x.py", "x.py:y", ":", "text:", "text:/dev/zero", "~nobody/x",
         "[red]", "/proc/self/mem"]
    ),
    st.text(st.characters(), max_size=20),
)  # fmt: skip
