# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to a registry in PostgreSQL: transactions, retries after a lost connection, and the tables.

If a connection is lost, the same transaction runs again. It recognizes its own work, even if the answer to COMMIT was
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
from ._protocol import ReadOnlyRegistry, RegistryError, Unwritable

if t.TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Params

    Connection = psycopg.Connection[t.Any]

MISSING_PSYCOPG = (
    "This Python has no psycopg 3, which a registry in PostgreSQL needs: install psycopg[binary], or add it to the"
    " execution environment."
)
CONNECT_TIMEOUT = 10  # seconds, unless the connection string has its own
STATEMENT_TIMEOUT = 10.0  # seconds, also for locks and idle transactions
# Seconds that a step may take as a whole: a frozen server enforces no timeout, and libpq has none for answers.
STEP_TIMEOUT = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two attempts
GRANTS = (
    "GRANT USAGE ON SCHEMA compute_index_supply, and SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA"
    " compute_index_supply"
)
Done = t.TypeVar("Done")
Step = t.Callable[["Connection"], Done]


class Unreachable(RegistryError):
    """The database cannot be reached, or did not answer in time."""

    error_class = "unavailable"


class DatabaseFull(Unwritable, Unreachable):
    """The database's disk is full. A standby would not say so, so what was read is up to date."""


class Connector:
    """Runs steps. Each step is a transaction on its own connection, so that few connections are open at once.

    With ``keep`` the connection stays open between the steps, until `close`: for code that runs many steps for many
    hosts. ``patience``: seconds for which an unreachable database is tried again. ``read_only``: any step that would
    write raises ReadOnlyRegistry. Each method raises RegistryError. Its text never has a password: it names the host,
    port, user and database of the connection string, and repeats what libpq reports.
    """

    def __init__(self, url: str, *, patience: float, keep: bool, read_only: bool) -> None:
        self.read_only = read_only
        self._psycopg = import_psycopg()
        self._parts = self._parse(url)
        self._patience = patience
        self._keep = keep
        self._kept: Connection | None = None
        host = self._parts.get("host") or self._parts.get("hostaddr") or "the default host"
        port = self._parts.get("port")
        name = self._parts.get("dbname") or "the default database"
        self.place = f"{name} at {host}{f':{port}' if port else ''}"
        self.where = f"The registry {self.place}"

    def stop_keeping(self) -> None:
        """From now on, open a connection for each step."""
        self._keep = False
        self.close()

    def close(self) -> None:
        """Close the kept connection, if any."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _execute(self, connection: Connection, query: str, values: Params | None = None) -> psycopg.Cursor[t.Any]:
        return connection.execute(query.encode(), values)

    @contextlib.contextmanager
    def _transaction(self, connection: Connection, *, read_only: bool = False) -> t.Iterator[None]:
        """A transaction that sets its own properties: a pooler may lose those of a session.

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
        """A connection for one step. A kept connection is closed after any error."""
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
        # Nor do prepared statements survive every pooler.
        connection = self._psycopg.connect(prepare_threshold=None, autocommit=True, **options)
        return t.cast("Connection", connection)

    def _run(self, step: Step[Done], patience: float, *, makes_tables: bool = True) -> Done:
        """Run a step and return its result. If the connection is lost, run it again for ``patience`` seconds."""
        deadline, pause, made = time.monotonic() + patience, FIRST_PAUSE, False
        while True:
            try:
                with self._connected() as connection, _limited(connection):
                    return step(connection)
            except ClusterChanged as change:
                self._run(functools.partial(self._note_cluster, values=change.values), patience)
            except self._psycopg.errors.UndefinedTable:
                if made or not makes_tables:
                    raise TablesMissing(f"{self.where} has no tables.") from None
                self._run(self._make_tables, patience)
                made = True
            except self._psycopg.Error as error:
                reason, is_transient = self._reason(error)
                if not is_transient or time.monotonic() + pause > deadline:
                    is_full = isinstance(error, self._psycopg.errors.DiskFull)
                    raise (DatabaseFull if is_full else Unreachable)(f"{self.where} {reason}.") from None
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _note_cluster(self, connection: Connection, values: Params) -> None:
        """Note which cluster this is. Purchases wait after a change of the cluster, but not after the first note."""
        with self._transaction(connection):
            self._execute(connection, sql.LOCK, {"gate": sql.GATE})
            found = self._execute(connection, sql.META, values).fetchone()
            if found and found[1]:
                self._execute(connection, sql.NOTE_CLUSTER, values)
                self._execute(connection, sql.ASSUME_SENT)

    def has_tables(self) -> bool:
        """Whether the tables exist."""
        return self._run(self._has_schema, self._patience, makes_tables=False)

    def _has_schema(self, connection: Connection) -> bool:
        found = self._execute(connection, sql.HAS_SCHEMA).fetchone()
        return bool(found and found[0])

    def make_tables(self) -> None:
        """Make the tables, unless another run has made them first."""
        self._run(self._make_tables, self._patience)

    def _make_tables(self, connection: Connection) -> None:
        errors = self._psycopg.errors
        try:
            with self._transaction(connection):
                self._execute(connection, sql.LOCK, {"gate": sql.GATE})
                if not self._has_schema(connection):
                    self._execute(connection, sql.SCHEMA)
        except (errors.DuplicateSchema, errors.DuplicateTable, errors.UniqueViolation):
            pass  # a pooler's session may not know yet that another one has made them
        except errors.InsufficientPrivilege:
            raise RegistryError(
                f"{self.where} has no tables, and its user may not make them: {_TABLES_ADVICE}."
            ) from None

    def _reason(self, error: psycopg.Error) -> tuple[str, bool]:
        """What is wrong, without parts of the connection string, and whether the error is transient."""
        if error.sqlstate is not None:
            # These pass as well: a standby is read-only before its promotion (25006, or 0A000 at BEGIN), and the server
            # ends the transaction of a suspended controller (25P03, 25P04).
            is_transient = isinstance(error, self._psycopg.OperationalError) or error.sqlstate[:2] in ("0A", "25")
            advice = f": {GRANTS}" if isinstance(error, self._psycopg.errors.InsufficientPrivilege) else ""
            return f"answers: {error.diag.message_primary} ({error.sqlstate}){advice}", is_transient
        if not isinstance(error, (self._psycopg.OperationalError, self._psycopg.InterfaceError)):
            return f"cannot store this ({type(error).__name__})", False
        # Without a connection libpq does not pass on the server's code, so any reason may be transient.
        return f"cannot be reached: {str(error).partition(chr(10))[0].rstrip('.')}", True

    def _parse(self, url: str) -> dict[str, t.Any]:
        """The parts of a connection string. Raises RegistryError without any of them, since each may be a password."""
        try:
            parts: dict[str, t.Any] = self._psycopg.conninfo.conninfo_to_dict(url)
        except (self._psycopg.Error, ValueError):
            raise RegistryError("registry_url is not a PostgreSQL connection string.") from None
        # Part of an unencoded password may end up in these, and messages show them.
        texts = (str(parts.get(name) or "") for name in ("host", "hostaddr", "dbname", "port"))
        if not all(map(_PART.fullmatch, texts)) or not re.fullmatch("[0-9,]*", str(parts.get("port") or "")):
            raise RegistryError(_UNENCODED) from None
        return parts


_TABLES_ADVICE = "GRANT CREATE ON DATABASE, or let a user who has that run compute_index.supply.registry once"
_PART = re.compile(r"[\w.,:%/+~ -]*")  # one or more names, addresses or socket folders
_UNENCODED = (
    "registry_url has a host, port or database name with invalid characters. If the password contains @, / or other"
    " special characters, encode them (%40 for @, %2F for /), or set PGPASSWORD instead."
)


@contextlib.contextmanager
def _limited(connection: Connection) -> t.Iterator[None]:
    """Cut the connection of a step that takes too long, so that the step fails with a lost connection."""
    timer = threading.Timer(STEP_TIMEOUT, _cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Connection) -> None:
    # By a copy of the descriptor, since libpq is using the connection.
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


class ClusterChanged(Exception):
    """The database runs on another cluster than the tables have noted."""

    def __init__(self, values: dict[str, t.Any]) -> None:
        super().__init__()
        self.values = values


class TablesMissing(RegistryError):
    """The tables were not made yet."""


def import_psycopg() -> t.Any:
    """Import and return the library, which takes some 80 ms. Raises RegistryError."""
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError:
        raise RegistryError(MISSING_PSYCOPG) from None
    return psycopg


def preload_psycopg() -> None:
    """Import the library if it is installed: for plugins that Ansible loads before it forks, so that no worker need."""
    with contextlib.suppress(RegistryError):  # the registry that needs it raises it again
        import_psycopg()
