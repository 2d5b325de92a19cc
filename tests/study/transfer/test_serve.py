"""`batchfront serve`: a storage for workers that reach only this process."""

from __future__ import annotations

import signal
import socket
import threading
import time

import grpc
import optuna
import pytest
from optuna.storages._grpc.auto_generated import api_pb2, api_pb2_grpc

from batchfront.storage.open import open_storage
from batchfront.storage.proxy_server import serving
from batchfront.study.cli.main import main, parser
from tests import servers
from tests.study.conftest import finish, spawn

RUN = ("run", "--task", "planted.py", "--epochs", "2", "--batch-sizes", "16:64")


@pytest.fixture
def url(workdir):
    return f"sqlite:///{workdir}/study.db"


@pytest.mark.slow
def test_workers_and_readers_work_through_the_server(workdir, url, rows):
    with servers.serve(url) as server:
        address = server.url()
        run = spawn(*RUN, "--n-trials", "4", "--n-workers", "2", "--storage", address, cwd=workdir)
        code, _, said = finish(run)
        assert code == 0, said
        found = rows("export", "--storage", address)
    assert sum(row["state"] != "FAIL" for row in found) == 4  # one may have found no slot
    assert len(rows("export", "--storage", url)) == len(found)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_lets_go_of_the_file(url, workdir, signum, code):
    with servers.serve(url) as server:
        optuna.create_study(storage=open_storage(server.url(), mode="worker"), study_name="mine")
        server.process.send_signal(signum)
        ended, said = server.ended()
    assert ended == code
    assert "Traceback" not in said
    assert said.count("warning") == 1, "that no password protects it"
    assert optuna.get_all_study_names(open_storage(url, mode="reader")) == ["mine"]


def test_calls_in_flight_end_before_the_server_does(url):
    storage = open_storage(url, mode="worker")
    begun, answered = threading.Event(), []
    slow = storage.get_all_studies

    def get_all_studies():
        begun.set()
        time.sleep(0.5)
        return slow()

    storage.get_all_studies = get_all_studies

    def call(address):
        answered.append(open_storage(address, mode="worker").get_all_studies())

    with serving(storage, host="127.0.0.1", port=0) as port:
        caller = threading.Thread(target=call, args=(f"grpc://127.0.0.1:{port}",))
        caller.start()
        assert begun.wait(30)
    caller.join(30)
    assert answered == [[]]


@pytest.mark.parametrize("through", ["the server", "the file"])
def test_a_study_has_no_trials_of_a_deleted_one_whose_id_it_has(url, through):
    """SQLite gives ids again; a study that is just being made has nothing else to be known by."""
    behind = open_storage(url, mode="worker")
    with serving(behind, host="127.0.0.1", port=0) as port:
        address = f"grpc://127.0.0.1:{port}"
        first = optuna.create_study(storage=open_storage(address, mode="worker"), study_name="one")
        first.add_trial(optuna.trial.create_trial(value=1.0))
        assert len(first.trials) == 1
        where = address if through == "the server" else url
        optuna.delete_study(storage=open_storage(where, mode="worker"), study_name="one")
        storage = open_storage(address, mode="worker")
        second = optuna.create_study(storage=storage, study_name="two")
        assert second._study_id == first._study_id
        assert second.trials == []


def test_a_second_server_on_a_port_is_refused_in_one_line(url):
    first = open_storage(url, mode="worker")
    with (
        serving(first, host="127.0.0.1", port=0) as port,
        servers.serve(url, "--port", str(port)) as second,
    ):
        code, said = second.ended()
    assert code == 2
    assert said.startswith(f"error: cannot serve on 127.0.0.1:{port}: is the port taken")
    assert said.count("\n") == 1


def test_the_server_outlives_what_a_client_does_wrong(url):
    with servers.serve(url) as server:
        address = server.url()
        channel = grpc.insecure_channel(address.removeprefix("grpc://"))
        stub = api_pb2_grpc.StorageServiceStub(channel)
        for request in (
            api_pb2.SetStudyUserAttributeRequest(study_id=99, key="a", value="no json"),
            api_pb2.SetStudyUserAttributeRequest(study_id=99, key="a", value="1"),
        ):
            with pytest.raises(grpc.RpcError):
                stub.SetStudyUserAttribute(request)
        storage = open_storage(address, mode="worker")
        study = optuna.create_study(storage=storage, study_name="mine")
        with pytest.raises(KeyError):
            storage.get_trial(99)
        assert study.ask().number == 0


def test_a_server_for_others_warns_that_nothing_protects_it(url):
    with servers.serve(url, "--host", "0.0.0.0", "--port", "0") as server:
        assert f"grpc://{socket.gethostname()}:" in server.url()
        assert "warning: no password protects it: who reaches 0.0.0.0 can" in "".join(server.said)


def test_a_server_on_loopback_warns_of_the_users_of_this_machine(url):
    with servers.serve(url) as server:
        server.url()
        said = "".join(server.said)
    assert "warning: no password protects it: every user of this machine can read and" in said


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("journal:///study.log", "Optuna's proxy does not support journals"),
        ("grpc://127.0.0.1:1", "it is a server already"),
        ("nonsense", "is not a URL"),
        ("oracle://host/db", "of an unknown kind"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(workdir, capsys, storage, said):
    assert main(["serve", "--storage", storage]) == 2
    assert said in capsys.readouterr().err
    assert [file.name for file in workdir.iterdir()] == ["planted.py"]


@pytest.mark.parametrize("verb", ["serve", "dashboard"])
def test_nobody_elsewhere_is_served_unless_told_so(verb):
    assert parser().parse_args([verb]).host == "127.0.0.1"


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_what_is_no_port_is_refused(capsys, port):
    assert main(["serve", "--port", port]) == 2
    assert "--port" in capsys.readouterr().err
