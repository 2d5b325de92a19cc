"""The server of a gRPC proxy: Optuna's, over a storage of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from optuna.storages import get_storage
from optuna.storages._grpc import servicer
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.trial import FrozenTrial, TrialState

from batchfront.storage.errors import StorageError
from batchfront.storage.fence import IDENTITY, Fence, StudyGone, fenced
from batchfront.storage.proxy import FENCE, GONE, address
from batchfront.storage.shared import SharedStorage

FINISH_SECONDS = 10.0  # how long calls in flight may take when the server ends
N_THREADS = 10  # calls at a time


class Served:
    """What the server answers from: the storage, and Optuna's cached view to list trials.

    Without that, each call of a worker would read all trials from the database. Nothing else goes
    through the view: it knows only what it has read, and to a server that was started again a
    trial of before would be none (a KeyError), and it keeps the trials of a study that was deleted
    for the next one of the same id.
    """

    def __init__(self, storage: SharedStorage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._view = get_storage(storage)
        self._seen: dict[int, str] = {}  # by the id of a study: the identity it had, or its name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """All trials of the study that has this id now."""
        # One that is just being made, or is not ours, has no identity.
        identity = self._storage.get_study_user_attrs(study_id).get(IDENTITY)
        identity = identity or self._storage.get_study_name_from_id(study_id)
        with self._lock:
            if self._seen.get(study_id, identity) != identity:
                self._renew()
            self._seen[study_id] = identity
            view = self._view
        return view.get_all_trials(study_id, deepcopy=deepcopy, states=states)

    def delete_study(self, study_id: int) -> None:
        """Delete it, and know nothing of it any more."""
        self._storage.delete_study(study_id)
        with self._lock:
            self._renew()

    def _renew(self) -> None:
        self._view = get_storage(self._storage)
        self._seen.clear()


class Fences(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Puts up the fence that came with a call, for the transactions it makes."""

    def intercept_service(
        self, continuation: Callable[..., Any], details: Any
    ) -> grpc.RpcMethodHandler | None:
        """The handler of a call, inside of the fence."""
        handler = continuation(details)
        text = dict(details.invocation_metadata or ()).get(FENCE)
        if handler is None or text is None:
            return handler
        fence = Fence.from_text(text)

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                with fenced(fence):
                    return handler.unary_unary(request, context)
            except StudyGone as error:
                context.abort(GONE, str(error))

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


@contextmanager
def serving(storage: SharedStorage, *, host: str, port: int) -> Iterator[int]:
    """Answer calls inside, and let those in flight end; yields the port, a free one for port 0.

    Raises:
        StorageError: the address cannot be used.
    """
    # Optuna's own run_grpc_proxy_server cannot be ended without cutting calls off, and shares its
    # port silently with a second one; so this knows two of its private modules.
    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(N_THREADS), options=options, interceptors=[Fences()])
    service = servicer.OptunaStorageProxyService(Served(storage))  # type: ignore[arg-type]
    add = api_pb2_grpc.add_StorageServiceServicer_to_server
    add(service, server)  # type: ignore[no-untyped-call]
    try:
        bound = server.add_insecure_port(address(host, port))
    except RuntimeError:
        raise StorageError(
            f"cannot serve on {address(host, port)}: is the port taken, or no such address here? "
            "choose another --port or --host"
        ) from None
    server.start()
    try:
        yield bound
    finally:
        server.stop(FINISH_SECONDS).wait()
