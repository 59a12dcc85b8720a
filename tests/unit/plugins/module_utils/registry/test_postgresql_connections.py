# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to a registry in PostgreSQL: lost ones, servers that do not answer, and connection strings."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.pool
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import DECOMMISSIONED, GONE
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _connection
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import (
    Ceilings,
    Contested,
    Database,
    TakenOver,
    Unreachable,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError
from ansible_collections.compute_index.supply.plugins.module_utils._registry._row import Row

import postgresql
from claimants import NO_CEILING, holder, purchase
from limits import HANGS, until
from registry_rows import RESOURCE_IDS, states
from samples import OFFER_ID, OTHER_ID, RESOURCE_ID

# Lost connections


class Broken(Database):
    """Loses its connection once, at ``broken_step``: before a statement, before COMMIT, or before COMMIT's answer."""

    broken_step = 0
    steps = 0

    def _pass(self, connection: Any, *, committed: bool = False) -> None:
        self.steps += 1
        if self.steps != self.broken_step:
            return
        if committed:
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        postgresql.execute(url_of(self), "SELECT pg_terminate_backend(%s, 2000)", [connection.info.backend_pid])

    def _execute(self, connection: Any, query: str, values: Any = None) -> Any:
        self._pass(connection)
        return super()._execute(connection, query, values)

    @contextlib.contextmanager
    def _transaction(self, connection: Any, *, read_only: bool = False) -> Iterator[None]:
        with super()._transaction(connection, read_only=read_only):
            yield
            self._pass(connection)
        self._pass(connection, committed=True)


def url_of(database: Database) -> str:
    """The connection string of a database."""
    return psycopg.conninfo.make_conninfo(**database._parts)


def broken_at_each_step(run: Callable[..., Database], least: int) -> Iterator[Broken]:
    """Yield databases that lose their connection at step 1, 2, ..., until one is used up without a loss.

    ``least``: the fewest steps that this must take, as a check that the test loses connections at all.
    """
    for number in itertools.count(1):
        database = run(kind=Broken)
        assert isinstance(database, Broken)
        database.broken_step = number
        yield database
        if database.steps < number:
            assert number > least
            return


Steps = Callable[[Database, Row], object]


def note_machines(database: Database, row: Row) -> object:
    return database.note(purchase(claim=row.claim, price_per_hour=2.5), RESOURCE_IDS)


def end_machines(database: Database, row: Row) -> object:
    note_machines(Database(url_of(database), holder("two")), row)
    return database.end(row, RESOURCE_IDS)


def adopt_machine(database: Database, row: Row) -> object:
    end_machines(Database(url_of(database), holder("two")), row)
    return database.note(purchase(note={"provision_adopted": True}), [RESOURCE_ID])


STEPS: dict[str, tuple[Steps, str, int]] = {
    "again": (lambda database, row: database.claim_again(row, 2.0, {}, Ceilings(2, 2)), "buying", 2),
    "take over": (lambda database, row: database.take_over(row), "buying", 2),
    "note": (note_machines, "live", 1),
    "add to note": (lambda database, row: database.add_to_note(row, {"provision_a": 1}), "buying", 1),
    "compare_and_set": (
        lambda database, row: database.compare_and_set(row, {"provision_a": 1, "provision_b": None}),
        "buying",
        1,
    ),
    "void": (lambda database, row: database.void(row, "refused", {}), "void", 1),
    "end": (end_machines, "ended", 1),
    "adopt an ended machine": (adopt_machine, "live", 1),
}


def test_claim_is_made_once_wherever_connection_is_lost(run: Callable[..., Database], registry_url: str) -> None:
    for database in broken_at_each_step(run, least=10):
        row = database.claim(purchase(offer=f"offer {database.broken_step}"), Ceilings(2, 2))
        assert (row.state, row.epoch, row.sent_at is not None) == ("buying", 1, True)
        assert states(registry_url).count("buying") == 1
        database.void(row, "refused", {})


@pytest.mark.parametrize(("step", "state", "epoch"), STEPS.values(), ids=STEPS.keys())
def test_step_is_applied_once_wherever_connection_is_lost(
    run: Callable[..., Database], registry_url: str, step: Steps, state: str, epoch: int
) -> None:
    for database in broken_at_each_step(run, least=4):
        row = run().claim(purchase(), NO_CEILING)
        step(database, row)
        found = postgresql.execute(registry_url, "SELECT state, epoch FROM compute_index_supply.purchase")
        assert found == [(state, epoch)]
        postgresql.execute(registry_url, "TRUNCATE compute_index_supply.purchase CASCADE")


def test_end_of_storage_returns_bill_wherever_connection_is_lost(
    run: Callable[..., Database], registry_url: str
) -> None:
    run().make_tables()
    volume = Storage(RESOURCE_ID, "data", OFFER_ID, 0.05)
    for database in broken_at_each_step(run, least=4):
        run().keep_storage("default", "gpu-1", "account", volume)
        bill = database.end_stray(RESOURCE_ID, [RESOURCE_ID])
        assert bill is not None and bill.end is not None, f"lost at step {database.broken_step}"
        assert run().end_stray(RESOURCE_ID, [RESOURCE_ID]) is None
        postgresql.execute(registry_url, "TRUNCATE compute_index_supply.purchase CASCADE")


def test_repeated_step_does_not_take_the_work_of_another_run_for_its_own(
    run: Callable[..., Database], registry_url: str
) -> None:
    """Only its own earlier attempt may have left what it finds after a lost connection."""
    repeated = run(kind=Broken)
    assert isinstance(repeated, Broken)
    row = run().note(purchase(), [RESOURCE_ID])
    run().compare_and_set(row, {"provision_a": 1})
    repeated.broken_step = repeated.steps + 2  # before its own statement
    with pytest.raises(TakenOver):
        repeated.compare_and_set(row, {"provision_b": 2})
    with pytest.raises(Contested):
        run().note(purchase(offer=OTHER_ID), ["stray"])
    assert run().end_stray(OTHER_ID, ["stray"], DECOMMISSIONED) is not None
    for offer, ids in ((OTHER_ID, ["stray"]), (OFFER_ID, [RESOURCE_ID])):
        repeated.broken_step = repeated.steps + 2
        assert repeated.end_stray(offer, ids, GONE) is None
    assert states(registry_url) == ["live", "ended"]


def test_ended_bill_of_another_registry_is_noted_once(run: Callable[..., Database], registry_url: str) -> None:
    bill = Bill("default", "gpu-1", OFFER_ID, (RESOURCE_ID,), ("gpu",), 2.5, begin=1000.0, end=4600.0, why="released")
    for database in broken_at_each_step(run, least=6):
        run().void(run().claim(purchase("gpu-2", OTHER_ID), NO_CEILING), "created the tables", {})
        database.note_ended("account", [bill])
        assert run().ledger("default").bills == (bill,)
        assert (run().note_ended("account", [bill]), run().counted(), run().void_claims([OFFER_ID])) == (0, [], [])
        postgresql.execute(registry_url, "TRUNCATE compute_index_supply.purchase CASCADE")


def test_lost_connection_is_repeated_for_longer_after_a_claim(run: Callable[..., Database]) -> None:
    """The purchase may be billed by then."""
    run().make_tables()
    database = run(kind=Broken, patience=0.0)
    assert isinstance(database, Broken)
    database.broken_step = 2
    with pytest.raises(Unreachable):
        database.counted()
    database.claim(purchase(), NO_CEILING)
    database.broken_step = database.steps + 2
    assert [row.host for row in database.counted()] == ["gpu-1"]


def test_kept_connection_is_replaced_once_it_is_lost(run: Callable[..., Database], registry_url: str) -> None:
    """A sweep keeps one. It must end the machines of its further hosts."""
    database = run(keep=True, patience=5.0)
    database.make_tables()
    kept = database._run(lambda connection: connection.info.backend_pid, 0.0)
    postgresql.execute(registry_url, "SELECT pg_terminate_backend(%s, 2000)", [kept])
    assert database.counted() == []
    database.close()


def test_time_limit_of_a_step_ends_with_it(run: Callable[..., Database]) -> None:
    """It would cut a kept connection during a later step."""
    database = run(keep=True)
    database.make_tables()
    limits = [each for each in threading.enumerate() if getattr(each, "function", None) is _connection._cut]
    assert all(isinstance(each, threading.Timer) and each.finished.is_set() for each in limits)
    database.close()


def test_repeated_claim_waits_for_hanging_commit(run: Callable[..., Database], registry_url: str) -> None:
    """While the first attempt is not committed yet, the second must neither fail nor make another claim."""
    wanted = purchase()
    run().void(run().claim(purchase("gpu-2", OTHER_ID), NO_CEILING), "created the tables", {})
    database = run()
    with psycopg.connect(registry_url) as hanging:
        with hanging.transaction():
            database._insert(hanging, wanted)
            threads = multiprocessing.pool.ThreadPool(1)
            repeated = threads.apply_async(database.claim, (wanted, NO_CEILING))
            time.sleep(0.2)
            assert not repeated.ready()
        assert repeated.get(HANGS).claim == wanted.claim
    assert states(registry_url) == ["void", "buying"]


def test_unreachable_database_is_named_without_password(registry_url: str) -> None:
    url = "postgresql://alice:geheim@127.0.0.1:1/supply?connect_timeout=2"
    with pytest.raises(Unreachable, match=r"The registry supply at 127\.0\.0\.1:1 cannot be reached: ") as caught:
        Database(url, holder("one"), patience=0.2).claim(purchase(), NO_CEILING)
    assert "geheim" not in str(caught.value)


@contextlib.contextmanager
def frozen_after(url: str, answers: int) -> Iterator[str]:
    """A proxy that passes this number of the server's answers on to each client, and then freezes."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    path, kept = f"{parts['host']}/.s.PGSQL.{parts.get('port') or 5432}", list[socket.socket]()

    def forward(source: socket.socket, sink: socket.socket, left: float) -> None:
        with contextlib.suppress(OSError):
            while left > 0 and (data := source.recv(65_536)):
                left -= 1
                sink.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, server = listener.accept()[0], socket.socket(socket.AF_UNIX)
                server.connect(path)
                kept.extend((client, server))
                for ends in ((client, server, float("inf")), (server, client, float(answers))):
                    threading.Thread(target=forward, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        there = {"host": "127.0.0.1", "port": listener.getsockname()[1], "sslmode": "disable", "gssencmode": "disable"}
        yield psycopg.conninfo.make_conninfo(url, **there)
    for each in kept:
        each.close()


@pytest.mark.parametrize("answers", [2, 3, 5])
@pytest.mark.parametrize("keep", [False, True])
def test_frozen_server_does_not_block_forever(
    registry_url: str, monkeypatch: pytest.MonkeyPatch, answers: int, keep: bool
) -> None:
    """The server's kernel still accepts data, so only the run's own time limit ends the wait."""
    monkeypatch.setattr(_connection, "STEP_TIMEOUT", 0.3)
    Database(registry_url, holder("one")).make_tables()
    with frozen_after(registry_url, answers) as url:
        database = Database(url, holder("two"), patience=0.1, facts_patience=0.1, keep=keep)
        with contextlib.suppress(Unreachable):  # a few steps may get enough answers
            for _step in range(9):
                database.note_sweep("default")
                database.counted()
            assert not keep
        database.close()


def test_database_opens_new_connections_after_call_without_keep(registry_url: str) -> None:
    """Threads need this: on a shared connection, one thread's step would be part of another's transaction."""

    def connection_of(database: Database) -> int:
        return database._run(lambda connection: connection.info.backend_pid, 0.0)

    with Registries(registry_url, "https://api.example.com", read_only=False) as registries:
        kept = registries.database()
        assert connection_of(kept) == connection_of(registries.database())
        apart = registries.database(keep=False)
        assert connection_of(apart) != connection_of(registries.database())


@pytest.mark.parametrize("step", [Database.make_tables, lambda database: database.note(purchase(), [RESOURCE_ID])])
def test_tables_are_created_wherever_connection_is_lost(
    registry_url: str, run: Callable[..., Database], step: Callable[[Database], object]
) -> None:
    for database in broken_at_each_step(run, least=6):
        postgresql.forget(registry_url)
        step(database)
        assert run().has_tables()


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.FeatureNotSupported("cannot set transaction read-write mode during recovery"),
        psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction"),
    ],
    ids=["at its beginning", "at a change"],
)
def test_standby_before_promotion_is_retried(run: Callable[..., Database], error: psycopg.Error) -> None:
    database, tries = run(), []

    def step(_connection: object) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise error
        return "done"

    assert database._run(step, 5.0) == "done"


def test_transaction_ended_by_idle_timeout_is_repeated(
    run: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspended controller leaves one open. The server ends it, so that no run waits for it at the gate."""
    monkeypatch.setattr(_connection, "STATEMENT_TIMEOUT", 0.2)
    database, row = run(), run().claim(purchase(), NO_CEILING)
    rows, sleeps = database._rows, [0.5]
    monkeypatch.setattr(database, "_rows", lambda *given: (time.sleep(sleeps.pop() if sleeps else 0), rows(*given))[1])
    noted = database.note(purchase(claim=row.claim), [RESOURCE_ID])
    assert (noted.state, noted.resource_ids, sleeps) == ("live", [RESOURCE_ID], [])


def test_no_connection_stays_open(run: Callable[..., Database], registry_url: str) -> None:
    run().claim(purchase(), NO_CEILING)
    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    until(lambda: postgresql.execute(registry_url, query) == [(0,)])


def test_missing_psycopg_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RegistryError, match=r"has no psycopg 3.*install psycopg\[binary\]"):
        Database("postgresql://h/", holder("one"))


# Connection strings


@pytest.mark.parametrize(
    "url", ["postgresql://a:geheim@h:x:y/", "geheim", "host=h geheim", "postgresql://h/?geheim=1", "password='geheim"]
)
def test_invalid_connection_string_is_not_repeated(url: str) -> None:
    with pytest.raises(RegistryError) as caught:
        Database(url, holder("one"), patience=0.0).open_claim("p", "h")
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://supply:tH@geheim@db.invalid/supply", "postgresql://supply:geheim@x@db.invalid:5432/supply"),
        *("postgresql://supply:geheim/x@db.invalid/supply", "postgresql://supply:12/geheim@db.invalid/supply"),
        *("postgresql://supply:a@12/geheim@db.invalid/supply", "postgresql://supply:a@b:geheim@db.invalid/supply"),
        *("postgresql://supply:a#geheim@x@db.invalid/supply", "postgresql://supply:a/b?geheim@db.invalid/supply"),
        *("host=db.invalid;password=geheim", "dbname=supply;password=geheim", "host=db.invalid,password=geheim"),
        *("host=db dbname=postgresql://u:geheim@db/x", "host=db port=geheim", "host=a@geheim", "hostaddr=geheim@h"),
        *("postgresql://db.invalid/supply%40geheim", "postgresql://db.invalid/supply?host=geheim@x", "host='\0geheim'"),
    ],
)
def test_password_with_unencoded_characters_is_refused_and_hidden(url: str) -> None:
    with pytest.raises(RegistryError, match="registry_url") as caught:
        Database(url, holder("one"), patience=0.0)
    assert "geheim" not in f"{caught.value!r} {caught.value.__cause__!r}" and caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://supply:p%40ss%2F@db.example.com:6432/supply", "supply at db.example.com:6432"),
        ("postgresql://supply:p:w@[2001:db8::1]/my-db_1.x", "my-db_1.x at 2001:db8::1"),
        ("postgresql://a.example.com:1,b.example.com:2/supply", "supply at a.example.com,b.example.com:1,2"),
        ("postgresql:///supply?host=/var/run/postgresql", "supply at /var/run/postgresql"),
        ("host=db password='a@b/c' dbname='my supply'", "my supply at db"),
        ("postgresql://", "the default database at the default host"),
        ("service=production host=db", "the default database at db"),
    ],
)
def test_place_names_database_and_host(url: str, place: str) -> None:
    assert Database(url, holder("one")).place == place


@pytest.mark.parametrize("words", ["Connection refused", 'FATAL:  too many connections for role "a"', "timeout"])
def test_failed_connection_may_be_retried_for_any_reason(run: Callable[..., Database], words: str) -> None:
    error = psycopg.OperationalError(f"connection failed: {words}\nMultiple connection attempts failed.")
    assert run()._reason(error) == (f"cannot be reached: connection failed: {words}", True)
