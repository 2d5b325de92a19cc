"""PostgreSQL and MySQL (MariaDB): a database server that several machines share."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from batchfront.storage.errors import StorageError
from batchfront.storage.names import DRIVERS, redacted, without_secrets
from batchfront.storage.patience import again_while_away, waits_for_server
from batchfront.storage.rdb import SharedRDBStorage, optuna_url, wrong_schema
from batchfront.storage.schema import TABLES
from batchfront.storage.shared import CLAIM_PATIENCE_SECONDS

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection

CONNECT_SECONDS = 10
SCHEMA = "batchfront schema"  # name of the lock under which tables are made
LAST_TABLE = "alembic_version"  # that Optuna makes
SCHEMA_PATIENCE_SECONDS = 120.0
# Worth another try: connections lost or refused, shutdown and start, deadlocks, too many clients.
AWAY_POSTGRESQL = ("08", "57P", "40001", "40P01", "53300")  # how its codes begin
AWAY_MYSQL = {1040, 1053, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 2055}
REFUSED = ("authentication failed", "does not exist", "pg_hba.conf")  # by a server that is there


def is_away(error: BaseException) -> bool:
    """The connection was lost or refused, or the server broke a deadlock.

    Not a full disk or a missing right: these are told at once.
    """
    cause = _database_error(error)
    if cause is None:
        return False
    if cause.connection_invalidated:
        return True
    return isinstance(cause, OperationalError) and _may_pass(cause.orig)


def _may_pass(said: BaseException | None) -> bool:
    """Whether what the driver raised is worth another try."""
    number = said.args[0] if said is not None and said.args else None
    if isinstance(number, int):  # of MySQL
        return number in AWAY_MYSQL
    code = getattr(said, "sqlstate", None)
    if code is not None:
        return str(code).startswith(AWAY_POSTGRESQL)
    return not any(words in str(said) for words in REFUSED)  # connecting failed


def _database_error(error: BaseException | None) -> DBAPIError | None:
    """What SQLAlchemy raised; Optuna wraps it, and itself it wraps what the driver raised."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    return error


TELL_OF_TRIALS = (
    "set_trial_attrs", "set_trial_state_values", "set_trial_system_attr", "set_trial_user_attr",
)  # fmt: skip


def _looking(cls: type[FencedStorage]) -> type[FencedStorage]:
    """A class decorator: what tells of a trial says so to `_begun`."""

    def looking(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: FencedStorage, *args: Any, **kwargs: Any) -> Any:
            self.telling.active = True
            try:
                return method(self, *args, **kwargs)
            finally:
                self.telling.active = False

        return call

    for name in TELL_OF_TRIALS:
        setattr(cls, name, looking(getattr(cls, name)))
    return cls


@_looking
class FencedStorage(SharedRDBStorage):
    """Looks at the fence in the transactions that tell of a trial.

    Others need no look: a server does not use an id again, but in a database that is made anew.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.telling = threading.local()
        super().__init__(url, **options)
        event.listen(self.engine, "begin", self._begun)

    def _begun(self, connection: Connection) -> None:
        if getattr(self.telling, "active", False):
            self.check_fence(connection)


@waits_for_server(is_away)
class ServerStorage(FencedStorage):
    """Optuna's tables on a server; calls wait while the server restarts."""

    @contextmanager
    def claim_lock(
        self, study_name: str, patience_seconds: float = CLAIM_PATIENCE_SECONDS
    ) -> Iterator[bool]:
        """A lock of the server, of one study; freed when the connection ends."""
        lock = f"batchfront {study_name}"
        with ExitStack() as stack:
            yield again_while_away(
                lambda: stack.enter_context(_named_lock(self.engine, lock, patience_seconds)),
                is_away,
            )


def open_worker(url: URL) -> ServerStorage:
    """Open for writing; creates the tables when they are missing."""
    _check_driver(url)
    engine = _engine_for_setup(url)
    try:
        # Several workers that start together on an empty database would race in creating tables.
        with _named_lock(engine, SCHEMA, SCHEMA_PATIENCE_SECONDS):
            return _open(url)
    finally:
        engine.dispose()


def open_reader(url: URL) -> ServerStorage:
    """Open existing tables."""
    if not exists(url):
        raise StorageError(f"{_shown(url)} has no studies yet: the first run creates them")
    return _open(url, skip_table_creation=True)


def exists(url: URL) -> bool:
    """Whether Optuna's tables are there, all of them: who looks must not write what is missing."""
    _check_driver(url)
    engine = _engine_for_setup(url)
    try:
        return set(inspect(engine).get_table_names()) >= {*TABLES, LAST_TABLE}
    finally:
        engine.dispose()


def _open(url: URL, **options: Any) -> ServerStorage:
    try:
        return ServerStorage(
            optuna_url(_full(url)),
            engine_kwargs={"pool_pre_ping": True, "connect_args": _connect_args(url)},
            **options,
        )
    except RuntimeError as error:
        raise wrong_schema(_shown(url), error) from error


def _engine_for_setup(url: URL) -> Any:
    """An engine that has connected once.

    Raises:
        StorageError: the driver takes no such options.
        SQLAlchemyError: the server cannot be reached.
    """
    from sqlalchemy import create_engine

    try:
        engine = create_engine(_full(url), connect_args=_connect_args(url))
        engine.connect().close()
    except SQLAlchemyError:
        raise
    except Exception as error:  # drivers hand options on to whatever these may break
        said = without_secrets(_full(url), f"{type(error).__name__}: {error}")
        raise StorageError(
            f"no connection can be made as {_shown(url)} says ({said}): leave out its options, "
            "or look at the host"
        ) from error
    return engine


def _full(url: URL) -> str:
    return url.set(drivername=DRIVERS[url.drivername]).render_as_string(hide_password=False)


def _shown(url: URL) -> str:
    return redacted(url.render_as_string(hide_password=False))


def _connect_args(url: URL) -> dict[str, Any]:
    if url.drivername.startswith("postgres"):
        # In a database of encoding SQL_ASCII psycopg would return bytes where text is meant.
        return {"connect_timeout": CONNECT_SECONDS, "client_encoding": "utf8"}
    return {"connect_timeout": CONNECT_SECONDS, "charset": "utf8mb4"}


def _check_driver(url: URL) -> None:
    from importlib.util import find_spec

    module = DRIVERS[url.drivername].split("+")[1]
    if find_spec(module) is None:
        raise StorageError(f"{_shown(url)} needs the package {module}: pip install {module}")
    if not url.database:
        raise StorageError(f"{_shown(url)} names no database: wanted {_shown(url)}/NAME")


@contextmanager
def _named_lock(engine: Any, name: str, patience_seconds: float) -> Iterator[bool]:
    """Held by the connection it is taken with, so it ends with whoever holds it."""
    with engine.connect() as connection:
        take, free = (
            (_take_postgresql, _free_postgresql)
            if engine.name == "postgresql"
            else (_take_mysql, _free_mysql)
        )
        held = take(connection, name, patience_seconds)
        try:
            yield held
        finally:
            if held:
                with suppress(SQLAlchemyError):  # the lock ended with a connection that was lost
                    free(connection, name)


def _number_of(name: str) -> int:
    """PostgreSQL's advisory locks have 64-bit numbers."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _take_postgresql(connection: Connection, name: str, patience_seconds: float) -> bool:
    milliseconds = max(1, round(1000 * patience_seconds))
    try:
        # The timeout ends with the transaction; the lock is the session's. An open transaction
        # would block vacuum.
        with connection.begin():
            connection.execute(text(f"SET LOCAL lock_timeout = {milliseconds}"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _number_of(name)})
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
            return False
        raise
    return True


def _free_postgresql(connection: Connection, name: str) -> None:
    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _number_of(name)})
    connection.commit()


def _take_mysql(connection: Connection, name: str, patience_seconds: float) -> bool:
    words = {"name": _short(name), "seconds": patience_seconds}
    return connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), words).scalar() == 1


def _free_mysql(connection: Connection, name: str) -> None:
    connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": _short(name)})


def _short(name: str) -> str:
    """MySQL takes 64 characters."""
    return hashlib.sha256(name.encode()).hexdigest()[:60]
