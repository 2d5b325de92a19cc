"""Servers that restart, refuse, or are not there; passwords in what is said of them."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.samplers import RandomSampler
from sqlalchemy.engine import make_url

from batchfront.storage.errors import StorageError
from batchfront.storage.open import open_storage, readable_errors
from tests import servers
from tests.storage.conftest import close

SECRET = "hunter2%@:x"
PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Runs it beside; what is returned waits for its result."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(60)
        return results[0] if results else "still running"

    return result


class Private:
    """A PostgreSQL server of our own, with passwords, which a test may stop."""

    def __init__(self, folder: Path) -> None:
        self._bin = Path(PROGRAMS[-1]).parent
        self._data = folder / "data"
        # PostgreSQL refuses to run as root.
        self._user = {"user": "postgres"} if os.getuid() == 0 else {}
        self.port = servers.free_port()
        (folder / "password").write_text(SECRET)
        self._run(
            "initdb", "-A", "scram-sha-256", "-U", "me", "-N", "--pwfile", folder / "password"
        )
        self._options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {folder} -F"
        self.start()

    def _run(self, program: str, *args: Any) -> None:
        command = [self._bin / program, "-D", self._data, *args]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", **self._user
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        self._run("pg_ctl", "-w", "-l", self._data / "log", "-o", self._options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "fast", "-w", "stop")

    def restarted_under(self, work: Callable[[], Any]) -> Any:
        """What it returns that begins while there is no server."""
        self.stop()
        result = in_thread(work)
        time.sleep(0.5)
        self.start()
        return result()

    def url(self, password: str = SECRET, name: str = "postgres") -> str:
        url = make_url(f"postgresql://127.0.0.1:{self.port}/{name}")
        return url.set(username="me", password=password).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def private() -> Iterator[Private]:
    if not PROGRAMS:
        pytest.skip("no PostgreSQL of Debian is installed (/usr/lib/postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # one that the user postgres may reach
    try:
        if os.getuid() == 0:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        private = Private(folder)
        yield private
        private.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refused(url: str, **options: Any) -> str:
    """What is said, in one line, when the storage is not opened."""
    said = []
    for mode in ("worker", "reader"):
        with pytest.raises(StorageError) as caught, readable_errors(url):
            open_storage(url, mode=mode)
        said.append(str(caught.value))
        assert "\n" not in said[-1]
        assert SECRET not in said[-1]
    assert said[0] == said[1]
    return said[0]


def drop_connections(kind: str, url: str) -> None:
    """Connections end as when the server restarts, but those of this database only."""
    name = make_url(url).database
    with servers.administration(kind) as connection:
        if kind == "postgresql":
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            return
        for row in connection.exec_driver_sql("SHOW PROCESSLIST").all():
            if row[3] == name:
                connection.exec_driver_sql(f"KILL {row[0]}")


def test_calls_go_on_after_connections_were_dropped(kind):
    with servers.database(kind) as url:
        storage = open_storage(url, mode="worker")
        study = optuna.create_study(storage=storage, study_name="mine")
        for n in range(3):
            drop_connections(kind, url)
            trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
            drop_connections(kind, url)
            storage.set_trial_attrs(trial._trial_id, {"n": n})
            with storage.claim_lock("mine") as held:
                assert held
                drop_connections(kind, url)
            study.tell(trial, n)
        assert [(t.values, t.user_attrs) for t in study.trials] == [
            ([n], {"n": n}) for n in range(3)
        ]
        close(storage)


def write_all(storage: Any, study: optuna.Study) -> Callable[[], Any]:
    def write() -> tuple[bool, int]:
        with storage.claim_lock(study.study_name) as held:
            trial = study.ask()
        storage.set_trial_attrs(trial._trial_id, {"a": 1})
        study.tell(trial, 1.0)
        return held, trial.number

    return write


@pytest.mark.postgresql
def test_calls_wait_while_postgresql_restarts(private):
    storage = open_storage(private.url(), mode="worker")
    study = optuna.create_study(storage=storage, study_name="mine")
    assert private.restarted_under(write_all(storage, study)) == (True, 0)
    assert study.trials[0].user_attrs == {"a": 1}
    trial = study.ask()
    write = partial(storage.set_trial_attrs, trial._trial_id, {"b": 2})
    assert private.restarted_under(write) is None
    assert study.trials[1].user_attrs == {"b": 2}
    close(storage)


@pytest.mark.slow
def test_calls_wait_while_a_proxy_restarts_on_its_port(tmp_path):
    path = f"sqlite:///{tmp_path}/study.db"
    with servers.serve(path) as first:
        url = first.url()
        storage = open_storage(url, mode="worker")
        study = optuna.create_study(storage=storage, study_name="mine")
        first.kill()
        result = in_thread(write_all(storage, study))
        with servers.serve(path, "--port", url.rpartition(":")[2]):
            assert result() == (False, 0)
            assert study.trials[0].user_attrs == {"a": 1}


@pytest.mark.slow
def test_a_trial_goes_on_through_a_proxy_that_was_started_again_in_its_middle(tmp_path):
    """The new server has read no trials yet, and a random sampler does not make it."""
    behind = f"sqlite:///{tmp_path}/study.db"
    with servers.serve(behind) as first:
        url = first.url()
        storage = open_storage(url, mode="worker")
        study = optuna.create_study(storage=storage, study_name="mine", sampler=RandomSampler())
        trial = study.ask()
        first.kill()
        with servers.serve(behind, "--port", url.rpartition(":")[2]) as second:
            second.url()
            rate = trial.suggest_float("learning_rate", 0.1, 1.0)
            trial.set_user_attr("a", 1)
            study.tell(trial, 0.5)
            (found,) = study.trials
    assert (found.params, found.value) == ({"learning_rate": rate}, 0.5)


@pytest.mark.postgresql
def test_a_proxy_outlives_a_restart_of_its_database(private):
    with servers.serve(private.url(name="postgres")) as proxy:
        storage = open_storage(proxy.url(), mode="worker")
        study = optuna.create_study(storage=storage, study_name="served")
        assert private.restarted_under(write_all(storage, study)) == (False, 0)
        proxy.process.terminate()
        code, said = proxy.ended()
        assert code == 143
        assert SECRET not in said


@pytest.mark.postgresql
def test_a_wrong_password_is_refused_at_once_and_never_shown(private):
    said = refused(private.url(password=SECRET + "wrong"))
    assert "password authentication failed" in said
    assert said.endswith("check user and password, in the URL or ~/.pgpass")


@pytest.mark.mysql
def test_a_wrong_password_of_mysql_is_refused_at_once_and_never_shown():
    with servers.database("mysql") as url:
        wrong = make_url(url).set(username="nobody_of_batchfront", password=SECRET)
        said = refused(wrong.render_as_string(hide_password=False))
    assert "Access denied" in said
    assert said.endswith("check user and password in the URL")


def test_a_database_that_is_not_there_is_refused_with_the_remedy(kind):
    with servers.database(kind) as url:
        name = make_url(url).database or ""
        said = refused(url.replace(name, "batchfront_none"))
    assert said.endswith("create it on the server first")
    assert "batchfront_none" in said


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_server_that_is_not_there_is_told_in_one_line(kind):
    url = make_url(f"{kind}://127.0.0.1:1/db").set(username="me", password=SECRET)
    said = refused(url.render_as_string(hide_password=False))
    assert said.startswith(f"storage {kind}://me:***@127.0.0.1:1/db: ")
    assert said.endswith("is the server running, and reachable from here?")


def test_a_database_must_be_named(kind):
    assert "names no database: wanted" in refused(f"{kind}://127.0.0.1")


@pytest.mark.postgresql
def test_a_database_without_an_encoding_keeps_text_as_it_is():
    with servers.database("postgresql", "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0") as url:  # fmt: skip  # noqa: E501
        storage = open_storage(url, mode="worker")
        study = optuna.create_study(storage=storage, study_name="größe")
        study.set_user_attr("ключ", "大")
        again = optuna.load_study(study_name="größe", storage=open_storage(url, mode="reader"))
        assert again.user_attrs == {"ключ": "大"}
        close(storage)


def test_what_will_not_pass_is_not_waited_for(kind):
    """A table that is gone, text too long for its column."""
    with servers.database(kind) as url:
        storage = open_storage(url, mode="worker")
        study = optuna.create_study(storage=storage, study_name="mine")
        trial, started = study.ask(), time.monotonic()
        with pytest.raises(optuna.exceptions.StorageInternalError):
            study.set_user_attr("k" * 5000, 1)
        with storage.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE trial_user_attributes")
        with pytest.raises(sqlalchemy.exc.SQLAlchemyError):
            storage.set_trial_attrs(trial._trial_id, {"a": 1})
        assert time.monotonic() - started < 20
        close(storage)


def test_the_tables_of_optuna_are_as_set_trial_attrs_knows_them(tmp_path):
    """Fails when Optuna changes what `batchfront.storage.rdb` writes past its interface."""
    storage = open_storage(f"sqlite:///{tmp_path}/study.db", mode="worker")
    found = sqlalchemy.inspect(storage.engine)
    attributes = {c["name"]: c for c in found.get_columns("trial_user_attributes")}
    assert set(attributes) == {"trial_user_attribute_id", "trial_id", "key", "value_json"}
    assert [c["column_names"] for c in found.get_unique_constraints("trial_user_attributes")] == [
        ["trial_id", "key"]
    ]
    assert {"trial_id", "state"} <= {c["name"] for c in found.get_columns("trials")}
    trial = optuna.create_study(storage=storage).ask()
    trial.set_user_attr("a", {"b": [1]})
    with storage.engine.begin() as connection:
        select = "SELECT state, value_json FROM trials JOIN trial_user_attributes USING (trial_id)"
        assert connection.exec_driver_sql(select).all() == [("RUNNING", '{"b": [1]}')]
