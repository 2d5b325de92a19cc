"""A gRPC proxy: workers that reach a storage only through `batchfront serve`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

# Read when grpc is imported: its C library prints lines of its own beside the errors it raises.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from optuna.exceptions import ExperimentalWarning
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.client import GrpcClientCache

from batchfront.storage.errors import StorageError
from batchfront.storage.fence import StudyGone
from batchfront.storage.patience import waits_for_server
from batchfront.storage.shared import CLAIM_PATIENCE_SECONDS, SharedStorage

CONNECT_SECONDS = 10.0
FENCE = "batchfront-fence"  # metadata of a call: what the server must find
GONE = grpc.StatusCode.ABORTED  # how it says that it did not; Optuna's server never does
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)  # by a server that ends


def is_away(error: BaseException) -> bool:
    away = isinstance(error, grpc.RpcError) and error.code() in AWAY
    return away or isinstance(error, NoAnswer)


class NoAnswer(StorageError):
    """Nobody answered when a client connected."""


class _Call(NamedTuple):
    """How a call is made, in the names by which grpc asks for it."""

    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str], ...]
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class Fencing(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """Sends the fence of a storage along with every call."""

    def __init__(self, storage: SharedStorage) -> None:
        self._storage = storage

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], details: Any, request: Any
    ) -> Any:
        """Make the call; StudyGone where the server has found another study."""
        fence = self._storage.fence_now
        if fence is None:
            return continuation(details, request)
        metadata = (*(details.metadata or ()), (FENCE, fence.as_text()))
        call = continuation(
            _Call(
                details.method,
                details.timeout,
                metadata,
                details.credentials,
                details.wait_for_ready,
                details.compression,
            ),
            request,
        )
        if call.code() == GONE:
            raise StudyGone(call.details())
        return call


@waits_for_server(is_away)
class SharedProxyStorage(GrpcStorageProxy, SharedStorage):
    """Calls wait while the server restarts."""

    def _setup(self) -> None:
        """Set up channel and stub as Optuna does, with the fence on the way."""
        super()._setup()
        channel = grpc.intercept_channel(self._channel, Fencing(self))
        self._stub = api_pb2_grpc.StorageServiceStub(channel)  # type: ignore[no-untyped-call]
        self._cache = GrpcClientCache(self._stub)

    @contextmanager
    def claim_lock(
        self, study_name: str, patience_seconds: float = CLAIM_PATIENCE_SECONDS
    ) -> Iterator[bool]:
        """The protocol has no locks: workers may overshoot n_trials by one less than they are."""
        yield False


def connect(host: str, port: int) -> SharedProxyStorage:
    """A client of the server.

    Raises:
        StorageError: nobody answers there.
    """
    where = address(host, port)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*GrpcStorageProxy.*", category=ExperimentalWarning)
        storage = SharedProxyStorage(host=bracketed(host), port=port)
    try:
        storage.wait_server_ready(timeout=CONNECT_SECONDS)
    except ConnectionError:
        storage.close()
        raise NoAnswer(
            f"no gRPC server answers on {where}: start one there with "
            f"`batchfront serve --storage URL --host HOST --port {port}`"
        ) from None
    return storage


def address(host: str, port: int) -> str:
    """The address as grpc takes it."""
    return f"{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """IPv6 addresses hold colons."""
    return f"[{host}]" if ":" in host else host
