# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to a registry in PostgreSQL: transactions, repetitions after a loss, and the making of its tables.

If the connection is lost, the same transaction runs again. It finds its own work, even if the answer to COMMIT was
lost.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
import threading
import time
import typing as t

from . import _statements as sql
from ._protocol import ReadOnlyRegistry, RegistryError

if t.TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Params

    Connection = psycopg.Connection[t.Any]

MISSING_PSYCOPG = (
    "This Python has no psycopg 3, which a registry in PostgreSQL needs: install psycopg[binary], or add it to the"
    " execution environment."
)
CONNECT_TIMEOUT = 10  # seconds, unless the connection string has its own
STATEMENT_TIMEOUT = 10.0  # seconds, also for a lock and for an idle transaction
# Seconds that a step may take, with all its statements: a server that is frozen keeps no limit, and libpq has none.
STEP_TIMEOUT = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries
GRANTS = (
    "GRANT USAGE ON SCHEMA compute_index_supply, and SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA"
    " compute_index_supply"
)
Done = t.TypeVar("Done")
Step = t.Callable[["Connection"], Done]


class Unreachable(RegistryError):
    """The database cannot be asked, or did not answer in time."""

    error_class = "unavailable"


class Connected:
    """Runs steps, each a transaction on a connection of its own, so that few are open at once.

    Code that takes many steps for many hosts lets it ``keep`` the connection between them, until `close`. ``patience``:
    seconds for which a database that cannot be reached is asked again. Each method raises RegistryError, whose text
    has no password: of the connection string host, port, user and name of the database, and what libpq finds wrong with
    the rest; one that is ``read_only`` raises ReadOnlyRegistry for all that would write.
    """

    def __init__(self, url: str, *, patience: float, keep: bool, read_only: bool) -> None:
        self.read_only = read_only
        self._psycopg = import_psycopg()
        self._parts = self._parsed(url)
        self._patience = patience
        self._keep = keep
        self._kept: Connection | None = None
        host = self._parts.get("host") or self._parts.get("hostaddr") or "the default host"
        port = self._parts.get("port")
        name = self._parts.get("dbname") or "the default database"
        self.place = f"{name} at {host}{f':{port}' if port else ''}"
        self.where = f"The registry {self.place}"

    def stop_keeping(self) -> None:
        """From now on let each step have a connection of its own."""
        self._keep = False
        self.close()

    def close(self) -> None:
        """Close the connection that is kept, if one is."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _execute(self, connection: Connection, query: str, values: Params | None = None) -> psycopg.Cursor[t.Any]:
        return connection.execute(query.encode(), values)

    @contextlib.contextmanager
    def _transaction(self, connection: Connection, *, read_only: bool = False) -> t.Iterator[None]:
        """A transaction that sets its properties itself: those of a session do not survive every pooler.

        Every change goes through here.
        """
        if self.read_only and not read_only:
            raise ReadOnlyRegistry(self.where)
        connection.isolation_level = self._psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = read_only
        with connection.transaction():
            self._execute(connection, sql.LIMITS, {"ms": str(int(STATEMENT_TIMEOUT * 1000))})
            yield

    @contextlib.contextmanager
    def _connected(self) -> t.Iterator[Connection]:
        """A connection for one step. One that is kept is given up with the first error, whatever it is."""
        if not self._keep:
            with contextlib.closing(self._connect()) as connection:
                yield connection
            return
        self._kept = self._kept or self._connect()
        try:
            yield self._kept
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Connection:
        options = {"connect_timeout": CONNECT_TIMEOUT, **self._parts, "client_encoding": "utf8"}
        # Prepared statements do not survive a pooler either.
        connection = self._psycopg.connect(prepare_threshold=None, autocommit=True, **options)
        return t.cast("Connection", connection)

    def _run(self, step: Step[Done], patience: float, *, make: bool = True) -> Done:
        """What the step answers; where the connection is lost, the same step runs again for ``patience`` seconds."""
        deadline, pause, made = time.monotonic() + patience, FIRST_PAUSE, False
        while True:
            try:
                with self._connected() as connection, _limited(connection):
                    return step(connection)
            except Moved as moved:
                self._run(functools.partial(self._move, values=moved.values), patience)
            except self._psycopg.errors.UndefinedTable:
                if made or not make:
                    raise NoTables(f"{self.where} has no tables.") from None
                self._run(self._make_tables, patience)
                made = True
            except self._psycopg.Error as error:
                reason, passes = self._reason(error)
                if not passes or time.monotonic() + pause > deadline:
                    raise Unreachable(f"{self.where} {reason}.") from None
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _move(self, connection: Connection, values: Params) -> None:
        """Note which cluster this is. Only a change of the cluster, not the first one, makes purchases wait."""
        with self._transaction(connection):
            self._execute(connection, sql.LOCK, {"gate": sql.GATE})
            found = self._execute(connection, sql.META, values).fetchone()
            if found and found[1]:
                self._execute(connection, sql.MOVED, values)
                self._execute(connection, sql.DOUBT_OPEN)

    def has_tables(self) -> bool:
        """Whether the tables exist."""
        return self._run(self._has_schema, self._patience, make=False)

    def _has_schema(self, connection: Connection) -> bool:
        found = self._execute(connection, sql.HAS_SCHEMA).fetchone()
        return bool(found and found[0])

    def make_tables(self) -> None:
        """Make the tables, unless another run is faster."""
        self._run(self._make_tables, self._patience)

    def _make_tables(self, connection: Connection) -> None:
        errors = self._psycopg.errors
        try:
            with self._transaction(connection):
                self._execute(connection, sql.LOCK, {"gate": sql.GATE})
                if not self._has_schema(connection):
                    self._execute(connection, sql.SCHEMA)
        except (errors.DuplicateSchema, errors.DuplicateTable, errors.UniqueViolation):
            pass  # a session that a pooler hands out again may not have heard yet of what another one has made
        except errors.InsufficientPrivilege:
            raise RegistryError(f"{self.where} has no tables, and its user may not make them: {_MAKERS}.") from None

    def _reason(self, error: psycopg.Error) -> tuple[str, bool]:
        """What is wrong, in words that hold nothing of the connection string, and whether it may pass by itself."""
        if error.sqlstate is not None:
            # A standby that is not promoted yet may only read (25006, or 0A000 at BEGIN), and a transaction ends whose
            # controller was suspended (25P03, 25P04).
            passes = isinstance(error, self._psycopg.OperationalError) or error.sqlstate[:2] in ("0A", "25")
            advice = f": {GRANTS}" if isinstance(error, self._psycopg.errors.InsufficientPrivilege) else ""
            return f"answers: {error.diag.message_primary} ({error.sqlstate}){advice}", passes
        if not isinstance(error, (self._psycopg.OperationalError, self._psycopg.InterfaceError)):
            return f"cannot keep this ({type(error).__name__})", False
        # While a connection is made, the server's code is not handed on, so any reason may pass.
        return f"cannot be reached: {str(error).partition(chr(10))[0].rstrip('.')}", True

    def _parsed(self, url: str) -> dict[str, t.Any]:
        """The parts of a connection string. Raises RegistryError, without any of its words: it may be a password."""
        try:
            parts: dict[str, t.Any] = self._psycopg.conninfo.conninfo_to_dict(url)
        except (self._psycopg.Error, ValueError):
            raise RegistryError("registry_url is no connection string of PostgreSQL.") from None
        # A password whose marks are not encoded becomes a part of these, and they are in each message.
        texts = (str(parts.get(name) or "") for name in ("host", "hostaddr", "dbname", "port"))
        if not all(map(_PART.fullmatch, texts)) or not re.fullmatch("[0-9,]*", str(parts.get("port") or "")):
            raise RegistryError(_UNENCODED) from None
        return parts


_MAKERS = "GRANT CREATE ON DATABASE, or let a user who has that run compute_index.supply.registry once"
_PART = re.compile(r"[\w.,:%/+~ -]*")  # names, addresses, folders of sockets, and several of them
_UNENCODED = (
    "registry_url has a host, port or database name with characters that none of them has. If its password holds an @,"
    " a / or another such mark, write it as in %40 for @ and %2F for /, or set it as PGPASSWORD."
)


@contextlib.contextmanager
def _limited(connection: Connection) -> t.Iterator[None]:
    """Cut the connection of a step that takes too long, so that it fails as one that was lost."""
    timer = threading.Timer(STEP_TIMEOUT, _cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Connection) -> None:
    # Of a copy of the descriptor, since the connection itself is in use.
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


class Moved(Exception):
    """The database is another cluster than the one that the tables know."""

    def __init__(self, values: dict[str, t.Any]) -> None:
        super().__init__()
        self.values = values


class NoTables(RegistryError):
    """Nobody has made the tables yet."""


def import_psycopg() -> t.Any:
    """The library. It takes some 80 ms. Raises RegistryError."""
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError:
        raise RegistryError(MISSING_PSYCOPG) from None
    return psycopg


def preload_psycopg() -> None:
    """Import the library if it is there. For plugins, which Ansible reads before it forks: else each worker does it."""
    with contextlib.suppress(RegistryError):  # who needs it says so
        import_psycopg()
