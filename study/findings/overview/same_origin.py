"""What a web page may not do to the dashboard: use a foreign name, or write from another site.

Any page that is open in a browser can send requests to addresses of this machine. It reads their
answers too when its own name is made to point here (DNS rebinding); such a request carries the
page's name in the header Host, and a write of another site's page carries that site in Origin.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from batchfront.study.errors import StudyError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

READING = ("GET", "HEAD", "OPTIONS")
OURS = ("same-origin", "none")  # of Sec-Fetch-Site; none: no page, a person typed it
HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[\w.-]+))(?P<port>:\d+)?", re.ASCII)


class SameOrigin:
    """A WSGI application that passes on what its own pages ask for, and what is no page at all.

    It is known by the address it listens on, by all of loopback, and by the names in `hosts`.
    """

    def __init__(self, app: WSGIApplication, *, address: str, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {"localhost", address, *(host.lower() for host in hosts)}
        self._everywhere = ipaddress.ip_address(address).is_unspecified

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers 403 with one line that says why, or passes the request on."""
        refusal = self._refusal(environ)
        if refusal is None:
            return self._app(environ, _unframed(start_response))
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{refusal}\n".encode()]

    def _refusal(self, environ: WSGIEnvironment) -> str | None:
        host = environ.get("HTTP_HOST", "").lower()
        if not self._knows(host):
            return (
                f"the dashboard does not go by the name {host[:100]!a}: where that is its name, "
                "start it with --allow-host and the name"
            )
        if environ["REQUEST_METHOD"] in READING:
            return None
        origin = environ.get("HTTP_ORIGIN")
        ours = origin is None or origin.lower().partition("://")[2] == host
        if ours and environ.get("HTTP_SEC_FETCH_SITE", OURS[0]) in OURS:
            return None
        other = ascii(origin)[:100] if origin else "another site"
        return f"only the dashboard's own pages may change studies, not those of {other}"

    def _knows(self, host: str) -> bool:
        found = HOST.fullmatch(host)
        if found is None:
            return False
        name = found["address"] or found["name"]
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # Of a server on all addresses any may be ours: unlike a name, none can be made to be.
        return address.is_loopback or self._everywhere


def checked_host(text: str) -> str:
    """A name or address as it stands in a URL, without a port.

    Raises:
        StudyError: something else, like a whole URL.
    """
    plain = text.lower()
    found = HOST.fullmatch(f"[{plain}]" if plain.count(":") > 1 else plain)
    if found is None or found["port"]:
        raise StudyError(f"--allow-host is {text!a:.100}, wanted a name or address, without a port")
    return found["address"] or found["name"]


def _unframed(start_response: StartResponse) -> StartResponse:
    """Shown inside a page of another site, its buttons could be clicked without being seen."""

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        return start_response(status, [*headers, ("X-Frame-Options", "SAMEORIGIN")], *exc_info)

    return start
