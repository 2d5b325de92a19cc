"""A gRPC proxy: workers that reach a storage only through `batchfront serve`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

# Read when grpc is imported: its C library prints lines of its own beside the errors it raises.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from optuna.exceptions import ExperimentalWarning
from optuna.storages import GrpcStorageProxy, get_storage

from batchfront.storage.errors import StorageError
from batchfront.storage.patience import waits_for_server
from batchfront.storage.shared import CLAIM_PATIENCE_SECONDS, SharedStorage

CONNECT_SECONDS = 10.0
FINISH_SECONDS = 10.0  # how long calls in flight may take when the server ends
N_THREADS = 10  # calls at a time
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)  # by a server that ends


def _is_away(error: BaseException) -> bool:
    return isinstance(error, grpc.RpcError) and error.code() in AWAY


@waits_for_server(_is_away)
class SharedProxyStorage(GrpcStorageProxy, SharedStorage):
    """Calls wait while the server restarts."""

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
    address = _address(host, port)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*GrpcStorageProxy.*", category=ExperimentalWarning)
        storage = SharedProxyStorage(host=_bracketed(host), port=port)
    try:
        storage.wait_server_ready(timeout=CONNECT_SECONDS)
    except ConnectionError:
        storage.close()
        raise StorageError(
            f"no gRPC server answers on {address}: start one there with "
            f"`batchfront serve --storage URL --host HOST --port {port}`"
        ) from None
    return storage


@contextmanager
def serving(storage: SharedStorage, *, host: str, port: int) -> Iterator[int]:
    """Answer calls inside, and let those in flight end; yields the port, a free one for port 0.

    Raises:
        StorageError: the address cannot be used.
    """
    # Optuna's own run_grpc_proxy_server cannot be ended without cutting calls off, and shares its
    # port silently with a second one; so this knows two of its private modules.
    from optuna.storages._grpc import servicer
    from optuna.storages._grpc.auto_generated import api_pb2_grpc

    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(N_THREADS), options=options)
    # The cached view of Optuna's that studies use too: without it each call of a worker would
    # read all trials from the database.
    service = servicer.OptunaStorageProxyService(get_storage(storage))
    add = api_pb2_grpc.add_StorageServiceServicer_to_server
    add(service, server)  # type: ignore[no-untyped-call]
    try:
        bound = server.add_insecure_port(_address(host, port))
    except RuntimeError:
        raise StorageError(
            f"cannot serve on {_address(host, port)}: is the port taken, or no such address here? "
            "choose another --port or --host"
        ) from None
    server.start()
    try:
        yield bound
    finally:
        server.stop(FINISH_SECONDS).wait()


def _address(host: str, port: int) -> str:
    return f"{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    """IPv6 addresses hold colons."""
    return f"[{host}]" if ":" in host else host
