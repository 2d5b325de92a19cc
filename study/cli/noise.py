"""The verb noise-scale: how noisy a task's gradients are, and what that says of batch sizes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.number import RATE, SEED, SIZE, WHOLE, Number
from batchfront.study.cli.options import add_number, add_verb, console_of
from batchfront.study.errors import StudyError
from batchfront.study.plan.options import options

if TYPE_CHECKING:
    from rich.console import Console

SHOW_AFTER_SECONDS = 2.0
NORM_DRAWS = 1000
EPOCH = replace(WHOLE, low=0)


def add_noise_verbs(verbs: Any) -> None:
    """Tell the parser of it."""
    text = "how noisy the gradients of a task are"
    noise = add_verb(
        verbs,
        "noise-scale",
        noise_scale,
        text,
        tries="""
            noise-scale --task digits
            noise-scale --task digits --learning-rate 0.05 --epochs 0,1,5
        """,
    )
    noise.add_argument("--task", default="digits", help=options()["task"].words)
    noise.add_argument("--epochs", help="such as 0,1,5; default: 0, with a learning rate 0,1,5")
    text = "of the run; default: %(default)s"
    add_number(noise, "--batch-size", SIZE, default=64, help=text)
    add_number(noise, "--learning-rate", RATE, help="of the run, to train past epoch 0")
    add_number(noise, "--seed", SEED, default=0, help="of run and draws; default: %(default)s")
    noise.add_argument("--device", default="auto", help=options()["device"].words)
    text = "for each estimate; default: %(default)s"
    draws = Number(low=2, high=10**6, whole=True)
    add_number(noise, "--n-draws", draws, default=200, help=text)
    add_number(
        noise,
        "--norms",
        replace(draws, low=0),
        nargs="?",
        const=NORM_DRAWS,
        default=0,
        metavar="N",
        help="also gradient norms by batch size, of N draws each; N: %(const)s",
    )
    noise.add_argument("--json", action="store_true", help="print JSON")


def noise_scale(args: argparse.Namespace) -> None:
    """Estimate tr(Sigma) / |G|^2 at the start of training and after chosen epochs, twice."""
    from batchfront.study.probes import show_noise as words
    from batchfront.study.probes.noise import NoiseSettings, measure

    settings = NoiseSettings(
        task=args.task,
        device=args.device,
        epochs=_numbers(args.epochs),
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        n_draws=args.n_draws,
        n_norms=args.norms,
    )
    with _bar(console_of(sys.stderr)) as begin:
        found = measure(settings, begin=begin)
    if args.json:
        print(json.dumps(words.as_json(found), indent=2))
        return
    console = console_of(sys.stdout)
    console.print(words.scales_table(found))
    for at in found.epochs:
        if at.norms:
            console.print(words.norms_table(at))
    for line in words.remarks(found):
        console.print(f"- {line}")


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(EPOCH.read("--epochs", part)) for part in text.split(","))
    except ValueError:
        raise StudyError(f"--epochs is {text!r}, wanted numbers such as 0,1,5") from None


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """Yields what `measure` begins with; a bar on a terminal once it takes long."""
    from rich.progress import Progress

    progress = Progress(console=console, transient=True, disable=not console.is_terminal)

    def begin(total: int) -> Callable[[int], None]:
        task = progress.add_task("drawing gradients", total=total)
        show_at = time.monotonic() + SHOW_AFTER_SECONDS

        def watch(n: int) -> None:
            progress.advance(task, n)
            if time.monotonic() > show_at:
                progress.start()  # again is nothing new

        return watch

    try:
        yield begin
    finally:
        progress.stop()
