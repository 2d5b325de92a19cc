"""The server of optuna-dashboard."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from batchfront.study.findings.overview.same_origin import SameOrigin

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def board_server(
    storage: BaseStorage, *, host: str, port: int, allow_hosts: Sequence[str] = ()
) -> WSGIServer:
    """It listens, and is ready for `serve_forever`; OSError when the port is taken.

    Requests under other names than `host` and `allow_hosts`, and writes of other sites' pages, are
    refused.
    """
    from optuna_dashboard import wsgi

    class Server(WSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, port), WSGIRequestHandler)
    address = str(server.server_address[0])
    server.set_app(SameOrigin(wsgi(storage), address=address, hosts=(host, *allow_hosts)))
    return server
