"""Joins a Ray cluster that runs already, and finds out what it has for our workers."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from batchfront.storage.names import is_of_one_machine, redacted
from batchfront.study.errors import StudyError
from batchfront.study.plan.settings import StudySettings

CONNECT_SECONDS = 5.0
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere, and nobody is asked
    # `ray job submit` has sent its folder already; ours holds what a worker needs.
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # without a warning about it
}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What of a Ray cluster our workers can have."""

    device: str  # cpu or cuda
    n_slots: int  # one for each GPU, or for each CPU where the device is the CPU
    hosts: frozenset[tuple[str, str]]  # address and name; several nodes may share one

    @property
    def resources(self) -> dict[str, int]:
        """What Ray reserves for one worker; no CPU beside a GPU, so that every GPU is a slot."""
        return {"num_gpus": 1, "num_cpus": 0} if self.device == "cuda" else {"num_cpus": 1}

    @property
    def slot(self) -> str:
        """What one worker takes."""
        return "GPU" if self.device == "cuda" else "CPU"


def import_ray() -> ModuleType:
    """Raises StudyError where it is not installed: only this launcher needs it."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)  # read on import
    try:
        import ray
    except ModuleNotFoundError:
        raise StudyError(
            "--launcher ray needs the package ray, which is not installed: "
            ".venv/bin/pip install -c constraints.txt -e '.[ray]'"
        ) from None
    return ray  # type: ignore[no-any-return]


@contextmanager
def joined(address: str, runtime_env: dict[str, Any]) -> Iterator[None]:
    """Connected to the cluster inside; its workers get `runtime_env`.

    Raises:
        StudyError: no cluster there, or one of another version of Ray or Python.
    """
    ray = import_ray()
    _check_address(address)
    try:
        ray.init(
            address=address,
            runtime_env=runtime_env,
            log_to_driver=False,  # a worker's words are in files of its node
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise StudyError(
            f"cannot join a Ray cluster at {address!r}: {said} (`ray start --head` starts one, "
            "--ray-address names another)"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Ray tries for five minutes and ends the process; we try once."""
    if address.startswith("ray://"):
        raise StudyError(
            f"ray_address {address!r} is one of Ray Client, which cannot interrupt a worker: run "
            "this on a node of the cluster, or with `ray job submit`"
        )
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", or what Ray itself refuses at once
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise StudyError(
            f"no Ray cluster answers at {address}: {error}; `ray start --head` starts one"
        ) from error


def look_at_cluster(device: str) -> Cluster:
    """The slots of the cluster joined, for the device that the settings name.

    Raises:
        StudyError: a device that workers cannot be given.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    n_gpus, n_cpus = (
        sum(int(node["Resources"].get(kind, 0)) for node in nodes) for kind in ("GPU", "CPU")
    )
    if device == "auto":
        device = "cuda" if n_gpus else "cpu"
    if device not in ("cpu", "cuda"):
        raise StudyError(
            f"device is {device!r}, and Ray gives every worker its own: wanted cpu, cuda or auto"
        )
    here = (ray.util.get_node_ip_address(), socket.gethostname())
    hosts = {(node["NodeManagerAddress"], node["NodeManagerHostname"]) for node in nodes}
    n_slots = n_gpus if device == "cuda" else n_cpus
    return Cluster(device=device, n_slots=n_slots, hosts=frozenset({here, *hosts}))


def check_cluster(cluster: Cluster, settings: StudySettings) -> None:
    """Raise StudyError for a cluster that cannot run what the settings ask for."""
    if cluster.n_slots == 0:
        raise StudyError(
            f"the Ray cluster has no {cluster.slot}, and device is {cluster.device}: "
            "add a node, or choose another --device"
        )
    if settings.n_workers is not None and settings.n_workers > cluster.n_slots:
        # Ray would let the others wait in silence. Fewer workers than asked for would be noticed
        # when the study is late; without the option a cluster of any size is right.
        raise StudyError(
            f"n_workers is {settings.n_workers}, and the Ray cluster has {cluster.n_slots} "
            f"{cluster.slot}s, one for each worker: leave --n-workers out to use them all"
        )
    if len(cluster.hosts) > 1 and is_of_one_machine(settings.storage):
        names = ", ".join(sorted(name for _, name in cluster.hosts)[:4])
        raise StudyError(
            f"storage {redacted(settings.storage)} is a file of one machine, and the Ray cluster "
            f"has {len(cluster.hosts)} ({names}): choose a --storage that all reach, PostgreSQL, "
            "a journal on NFS or a gRPC proxy"
        )
