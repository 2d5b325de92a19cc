"""Which requests a served dashboard answers: those of its own pages, under its own name."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import optuna
import pytest

from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main

from ..conftest import spawn


@dataclass(frozen=True, kw_only=True)
class Served:
    """A `batchfront dashboard` process with the study `mine`."""

    address: str
    port: int
    url: str  # of its storage

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, str]:
        """Status and body. Headers in Python's spelling; `Host` replaces the usual one."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.address, self.port, timeout=60)
        connection.putrequest(method, path, skip_host="Host" in named)
        for name, value in {"Content-Length": "0", **named}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def studies(self) -> list[str]:
        """Those that are left."""
        return optuna.get_all_study_names(open_storage(self.url, mode="reader"))


@contextmanager
def _serving(workdir, *options: str, at: str = "127.0.0.1") -> Iterator[Served]:
    url = f"sqlite:///{workdir}/study.db"
    storage = open_storage(url, mode="worker")
    optuna.create_study(storage=storage, study_name="mine")
    process = spawn("dashboard", "--port", "0", *options, cwd=workdir, BATCHFRONT_STORAGE=url)
    try:
        for line in process.stderr:
            if found := re.search(r"dashboard on http://.*:(\d+)/", line):
                yield Served(address=at, port=int(found[1]), url=url)
                break
        else:
            pytest.fail("it ended")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """On loopback, as it is by default; nothing changes its studies."""
    with _serving(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def served_to_change(workdir):
    """The same, for one test."""
    with _serving(workdir) as found:
        yield found


def test_a_foreign_name_neither_reads_nor_deletes(served):
    for host in (
        "evil.example",
        f"evil.example:{served.port}",
        "localhost.evil.example",
        f"evil.example:80@localhost:{served.port}",
        "10.0.0.5",
        "0.0.0.0",
        "",
    ):
        for method, path in (("GET", "/api/studies"), ("DELETE", "/api/studies/1")):
            status, said = served.ask(method, path, Host=host)
            assert status == 403, host
            assert said.count("\n") == 1
            assert "--allow-host" in said
    assert served.studies() == ["mine"]


def test_two_names_in_one_request_are_none(served):
    with socket.create_connection((served.address, served.port), 60) as client:
        client.sendall(
            b"GET /api/studies HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
        )
        assert client.makefile("rb").readline().split()[1] == b"403"


def test_every_name_of_loopback_is_answered(served):
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.1.2.3", "[::1]:99"):
        status, said = served.ask("GET", "/api/studies", Host=host)
        assert (status, json.loads(said)["study_summaries"][0]["study_name"]) == (200, "mine")


def test_a_page_of_another_site_changes_nothing(served):
    here = f"localhost:{served.port}"
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost"},  # another port is another site
        {"Origin": f"http://localhost:{served.port}.evil.example"},
        {"Origin": f"http://{here}", "Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        for method, path in (("DELETE", "/api/studies/1"), ("POST", "/api/studies/1/rename")):
            status, said = served.ask(method, path, Host=here, **headers)
            assert status == 403, headers
            assert "only the dashboard's own pages may change studies" in said
    assert served.studies() == ["mine"]


@pytest.mark.slow
def test_its_own_page_deletes_a_study(served_to_change):
    here = f"127.0.0.1:{served_to_change.port}"
    own = {"Host": here, "Origin": f"http://{here}", "Sec_Fetch_Site": "same-origin"}
    assert served_to_change.ask("DELETE", "/api/studies/1", **own)[0] == 204
    assert served_to_change.studies() == []


@pytest.mark.slow
def test_a_script_without_any_page_deletes_a_study(served_to_change):
    assert served_to_change.ask("DELETE", "/api/studies/1")[0] == 204
    assert served_to_change.studies() == []


def test_no_page_of_another_site_frames_it(served):
    connection = http.client.HTTPConnection(served.address, served.port, timeout=60)
    connection.request("GET", "/dashboard")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["X-Frame-Options"]) == (200, "SAMEORIGIN")


def test_a_name_is_answered_when_it_is_allowed(workdir):
    with _serving(workdir, "--allow-host", "Dash.example", "--allow-host", "fd00::5") as served:
        for host, status in (
            ("dash.example", 200),
            ("dash.example:443", 200),
            ("[fd00::5]:80", 200),
            ("localhost", 200),
            ("other.example", 403),
        ):
            assert served.ask("GET", "/api/studies", Host=host)[0] == status, host
        origin = "https://dash.example"  # behind a proxy that speaks TLS
        assert served.ask("DELETE", "/api/studies/1", Host="dash.example", Origin=origin)[0] == 204


@pytest.mark.slow
def test_a_server_on_all_addresses_answers_to_addresses_and_to_no_names(workdir):
    with _serving(workdir, "--host", "0.0.0.0") as served:
        for host, status in (
            ("10.0.0.5:8080", 200),
            ("[fd00::5]", 200),
            ("0.0.0.0", 200),
            ("evil.example", 403),
        ):
            assert served.ask("GET", "/api/studies", Host=host)[0] == status, host


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not _has_ipv6(), reason="needs IPv6")
def test_it_serves_on_ipv6(workdir):
    with _serving(workdir, "--host", "::1", at="::1") as served:
        assert served.ask("GET", "/api/studies", Host=f"[::1]:{served.port}")[0] == 200


@pytest.mark.parametrize("name", ["http://dash.example/", "dash.example:80", "", "a b", "[::1]:80"])
def test_what_is_no_name_cannot_be_allowed(workdir, capsys, name):
    assert main(["dashboard", "--allow-host", name]) == 2
    assert "wanted a name or address, without a port" in capsys.readouterr().err
