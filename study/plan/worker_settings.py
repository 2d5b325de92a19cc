"""What a user may set of the workers, and of the place of a study."""

from __future__ import annotations

from dataclasses import dataclass

from batchfront.objectives.number import Number
from batchfront.study.plan.choices import LAUNCHERS, LOGS
from batchfront.study.plan.environment import DEFAULT_STORAGE, STORAGE_VARIABLE
from batchfront.study.plan.parsers import WORKERS
from batchfront.study.plan.setting import FILLING, SEARCHING, setting


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Who runs it, and where it is kept."""

    storage: str = setting(
        f"default: ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}",
        default=DEFAULT_STORAGE,
        group="workers",
        verbs="run smallest probe",
    )
    n_workers: int | None = setting(
        "local processes, one thread each; default: 1, on Ray every GPU or CPU",
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
        number=WORKERS,
    )
    trials_per_gpu: int | str = setting(
        "trials that share a GPU, or auto: as many as are worth it; what is measured has it alone; "
        "default: 1",
        default=1,
        group="workers",
        verbs=SEARCHING,
        kind="sharing",
    )
    launcher: str = setting(
        f"{' or '.join(LAUNCHERS)}: where workers run; default: local",
        default="local",
        group="workers",
        verbs="run",
    )
    ray_address: str = setting(
        "of a running Ray cluster, host:port; default: auto",
        default="auto",
        group="workers",
        verbs="run",
    )
    timeout: float | None = setting(
        "seconds after which no new trial starts",
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
        number=Number(low=0.0, above=True, high=1e9),
    )
    grace: int | None = setting(
        "seconds after which a silent worker's trial goes to another; default: 60",
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
        number=Number(low=2, high=10**9, whole=True),
    )
    checkpoint_dir: str | None = setting(
        "default: beside an SQLite file or journal; none: lose started runs",
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
    )
    paused_gib: float = setting(
        "of front-paused: GiB of disk for paused runs, the most hopeless go first; default: 10",
        default=10.0,
        group="workers",
        verbs="run",
        number=Number(low=0, high=2**30),
    )
    fuse: str | int | None = setting(
        "runs asked for at one batch size, trained together: auto, off, or so many; default: off",
        kind="fuse",
        group="workers",
        verbs=f"{SEARCHING} record {FILLING}",
    )
    mixed_hardware: bool = setting(
        "let this hardware join a study timed on another: one front for each",
        default=False,
        group="workers",
        verbs="run",
    )
    accept_change: bool = setting(
        "go on although code, data, model or optimizer changed; the study records it",
        default=False,
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
    )
    log: tuple[str, ...] | None = setting(
        f"{', '.join(LOGS)}: write each trial's curve and values under runs/logs; default: none",
        group="workers",
        verbs="run",
        kind="words",
    )
