"""What waits for a lock of a server, and what reads tables that another is making."""

from __future__ import annotations

import time

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from batchfront.storage import server
from batchfront.storage.errors import StorageError
from batchfront.storage.open import open_storage
from tests import servers
from tests.storage.conftest import close
from tests.storage.test_servers import in_thread


@pytest.mark.postgresql
def test_waiting_for_a_lock_ends_with_the_reason_and_leaves_no_timeout():
    with servers.database("postgresql") as url:
        engine = open_storage(url, mode="worker").engine

        def take(seconds: float) -> tuple[bool, str]:
            with engine.connect() as connection:
                held = server._take_postgresql(connection, "mine", seconds)
                return held, connection.exec_driver_sql("SHOW lock_timeout").scalar_one()

        with server._named_lock(engine, "mine", 1.0):
            assert take(0.05) == (False, "0")
            waiter = in_thread(lambda: take(60))
            name = make_url(url).database
            waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            with servers.administration("postgresql") as connection:
                while not (pids := connection.exec_driver_sql(waiting).scalars().all()):
                    time.sleep(0.01)
                connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                connection.exec_driver_sql(f"SELECT pg_terminate_backend({pids[0]})")
            assert waiter().orig.sqlstate == "57P01"  # not that it cannot connect again
        engine.dispose()


def test_a_reader_leaves_tables_alone_that_are_just_being_made(kind):
    from optuna.storages._rdb.models import BaseModel

    with servers.database(kind) as url:
        engine = sqlalchemy.create_engine(url)
        BaseModel.metadata.create_all(engine)
        with pytest.raises(StorageError, match="has no studies yet"):
            open_storage(url, mode="reader")
        assert "alembic_version" not in sqlalchemy.inspect(engine).get_table_names()
        engine.dispose()
        close(open_storage(url, mode="worker"))
        close(open_storage(url, mode="reader"))
