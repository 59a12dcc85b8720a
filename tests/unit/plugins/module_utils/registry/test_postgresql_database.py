# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database of a shared registry: its tables, versions and rights, failovers, settings and texts."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timezone
from pathlib import Path

import psycopg
import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import EXPIRED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, noted_claim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import LONGEST_POST
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _statements
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import (
    ClaimedByOther,
    Contested,
    Database,
    Unreachable,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError, Unwritable
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import entries_of
from ansible_collections.compute_index.supply.plugins.module_utils._registry._statements import FIRST_EPOCH, SCHEMA

import postgresql
from claimants import NO_CEILING, holder, purchase
from registry_rows import RESOURCE_IDS, states
from samples import OFFER_ID, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID

# Tables, versions and rights


def test_reading_creates_no_tables(run: Callable[..., Database], registry_url: str) -> None:
    database = run()
    assert (database.open_claim("default", "gpu-1"), database.counted()) == (None, [])
    found = postgresql.execute(registry_url, "SELECT to_regnamespace(%s)::text", [postgresql.SCHEMA])
    assert found == [(None,)]


def test_tables_created_by_hand_are_used(run: Callable[..., Database], registry_url: str) -> None:
    postgresql.execute(registry_url, SCHEMA)
    run().claim(purchase(), NO_CEILING)
    assert states(registry_url) == ["buying"]


def test_make_tables_succeeds_if_session_does_not_see_them_yet(
    run: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    run().make_tables()
    # A connection pooler may reuse a session that looked for the tables before they existed.
    monkeypatch.setattr(_statements, "HAS_SCHEMA", "SELECT false")
    run().make_tables()


def test_newer_schema_refuses_claims_but_accepts_facts_and_ends(
    run: Callable[..., Database], registry_url: str
) -> None:
    row = run().claim(purchase(), NO_CEILING)
    postgresql.execute(registry_url, "ALTER TABLE compute_index_supply.purchase ADD more text")
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET version = 2")
    with pytest.raises(RegistryError, match=r"newer version of the collection \(schema 2, here 1\)"):
        run().claim(purchase("gpu-2", OTHER_ID), NO_CEILING)
    assert run().open_claim("default", "gpu-1") is not None
    assert run().note(purchase(claim=row.claim), [RESOURCE_ID]).state == "live"
    run().end(row, RESOURCE_IDS)
    assert run().counted() == []


def test_full_disk_of_database_is_distinguished(run: Callable[..., Database], registry_url: str) -> None:
    """Then no run can note an extension, so a sweep ends leases that are over."""
    row = run().claim(purchase(), NO_CEILING)
    postgresql.execute(
        registry_url,
        "CREATE FUNCTION compute_index_supply.no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE disk_full USING MESSAGE = 'could not extend file'; END $$;"
        "CREATE TRIGGER no_space BEFORE UPDATE ON compute_index_supply.purchase"
        " EXECUTE FUNCTION compute_index_supply.no_space()",
    )
    database = Database(registry_url, holder("sweep"), facts_patience=0.0)
    with pytest.raises(Unwritable, match=r"could not extend file \(53100\)") as failure:
        database.compare_and_set(row, {"provision_reaped_at": "2026-12-01T06:00:00Z"})
    assert failure.value.error_class == "unavailable"


@pytest.fixture
def reader(registry_url: str) -> Iterator[str]:
    """The connection string of a role that may only read."""
    postgresql.execute(registry_url, SCHEMA)
    postgresql.execute(registry_url, "CREATE ROLE reader LOGIN")
    postgresql.execute(registry_url, "GRANT USAGE ON SCHEMA compute_index_supply TO reader")
    postgresql.execute(registry_url, "GRANT SELECT ON ALL TABLES IN SCHEMA compute_index_supply TO reader")
    yield registry_url.replace("postgres:@", "reader@")
    postgresql.execute(registry_url, "DROP OWNED BY reader")
    postgresql.execute(registry_url, "DROP ROLE reader")


def test_role_with_read_rights_may_only_read(run: Callable[..., Database], reader: str) -> None:
    row = run().claim(purchase(), NO_CEILING)
    database = Database(reader, holder("reader"))
    assert [row.host for row in database.counted()] == ["gpu-1"]
    assert database.open_claim("default", "gpu-1") is not None
    with pytest.raises(RegistryError, match="does not let its user note machines, so none may be bought: GRANT"):
        database.claim(purchase("gpu-2", OTHER_ID), NO_CEILING)
    with pytest.raises(RegistryError, match=r"permission denied for table purchase \(42501\): GRANT USAGE ON SCHEMA"):
        database.end(row, RESOURCE_IDS)
    postgresql.forget(reader.replace("reader@", "postgres@"))
    with pytest.raises(RegistryError, match="has no tables, and its user may not make them: GRANT CREATE"):
        database.claim(purchase("gpu-2", OTHER_ID), NO_CEILING)


def test_role_that_cannot_note_machines_may_not_claim(registry_url: str, reader: str) -> None:
    """Another role has created the tables; this one may have rights to some of them only."""
    database = Database(reader, holder("reader"))
    for rights in (
        "GRANT INSERT, UPDATE ON compute_index_supply.purchase, compute_index_supply.meta TO",
        "GRANT INSERT ON compute_index_supply.machine TO",
        "REVOKE INSERT ON compute_index_supply.machine FROM",
        "GRANT UPDATE ON compute_index_supply.machine TO",
        "GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA compute_index_supply TO",
    ):
        with pytest.raises(RegistryError, match="does not let its user note machines"):
            database.claim(purchase(), NO_CEILING)
        assert states(registry_url) == []
        postgresql.execute(registry_url, f"{rights} reader")
    row = database.claim(purchase(), NO_CEILING)
    assert database.note(purchase(claim=row.claim), [RESOURCE_ID]).resource_ids == [RESOURCE_ID]
    kept = database.note(purchase(claim=row.claim), [SECOND_RESOURCE_ID], disowned=[RESOURCE_ID])
    assert kept.resource_ids == [RESOURCE_ID, SECOND_RESOURCE_ID], "the role may not delete rows"
    database.end(row, RESOURCE_IDS)
    assert states(registry_url) == ["ended"]


# Failovers and backups


def test_failover_refuses_new_claims_until_quarantine_ends(run: Callable[..., Database], registry_url: str) -> None:
    row = run().claim(purchase(), NO_CEILING)
    assert run().add_to_note(row, {EXPIRED: "now"}).expired_seen is not None
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET cluster = 'another/00000001'")
    for _time in range(2):
        with pytest.raises(
            Unreachable, match="has failed over, and may have lost claims: nothing new is bought until 2"
        ):
            run(patience=0.0).claim(purchase("gpu-2", OTHER_ID), NO_CEILING)
    found = run().open_claim("default", "gpu-1")
    assert found is not None and found.expired_seen is None
    assert run().note(purchase(claim=row.claim), [RESOURCE_ID]).state == "live"
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET quarantine_until = now()")
    run().claim(purchase("gpu-2", OTHER_ID), NO_CEILING)


@pytest.mark.parametrize(
    ("meta", "refusal"),
    [
        ("cluster = NULL", ""),
        ("version = 2", "newer version of the collection (schema 2, here 1)"),
        ("cluster = 'another/00000001'", "nothing new is bought until 2"),
        ("quarantine_until = now() + interval '9 minutes'", "nothing new is bought until 2"),
        ("quarantine_until = now()", ""),
    ],
)
def test_quote_is_refused_as_the_purchase_would_be(
    run: Callable[..., Database], registry_url: str, meta: str, refusal: str
) -> None:
    """A run that buys is not refused before its claim, which notes that the database has failed over."""
    quote = {"patience": 0.0, "read_only": True}
    assert run(**quote).why_no_claim == "", "no tables yet"
    run().claim(purchase(), NO_CEILING)
    assert run(**quote).why_no_claim == ""
    postgresql.execute(registry_url, f"UPDATE compute_index_supply.meta SET {meta}")
    before = postgresql.execute(registry_url, "SELECT * FROM compute_index_supply.meta")
    reason = run(**quote).why_no_claim
    assert refusal in reason and bool(reason) is bool(refusal), reason
    assert postgresql.execute(registry_url, "SELECT * FROM compute_index_supply.meta") == before
    assert run(patience=0.0).why_no_claim == ""
    if refusal:
        with pytest.raises(RegistryError, match=re.escape(refusal)):
            run(patience=0.0).claim(purchase("gpu-2", OTHER_ID), NO_CEILING)


def test_command_for_restored_backup_starts_quarantine(run: Callable[..., Database], registry_url: str) -> None:
    """Runs the command in docs/shared-registry.md. The backup lacks purchases that were made after it."""
    guide = Path(__file__).parents[5].joinpath("docs", "shared-registry.md").read_text()
    command = re.search(r'psql [^\n]*-c "(UPDATE compute_index_supply.meta[^"]*)"', guide)
    assert command
    row = run().claim(purchase(), NO_CEILING)
    run().add_to_note(row, {EXPIRED: "now"})
    # The backup is from before the claim was sent.
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET sent_at = NULL")
    postgresql.execute(registry_url, command[1])
    with pytest.raises(Unreachable, match="nothing new is bought until 2"):
        run(patience=0.0).claim(purchase("gpu-2", OTHER_ID), NO_CEILING)
    ((waits, doubted),) = postgresql.execute(
        registry_url,
        "SELECT quarantine_until BETWEEN now() + interval '29 minutes' AND now() + interval '30 minutes',"
        " expired_seen IS NULL AND sent_at IS NOT NULL FROM compute_index_supply.meta, compute_index_supply.purchase",
    )
    assert waits and doubted


# Settings, names and texts


def test_new_database_has_default_epoch_and_longest_post(run: Callable[..., Database], registry_url: str) -> None:
    row = run().claim(purchase(), NO_CEILING)
    assert (row.longest_post, row.epoch) == (LONGEST_POST, FIRST_EPOCH)


@pytest.mark.parametrize("projects", [("default", "red"), ("red", "default"), ("red", "blue")])
def test_hosts_of_other_projects_have_distinct_names(run: Callable[..., Database], projects: tuple[str, str]) -> None:
    here, there = projects
    for number, project in enumerate(projects):
        wanted = purchase(offer=(OFFER_ID, OTHER_ID)[number], project=project)
        run().claim(wanted, NO_CEILING)
        run().note(wanted, [(RESOURCE_ID, SECOND_RESOURCE_ID)[number]])
    with pytest.raises(Contested):
        run().note(purchase(offer=str(uuid.uuid4()), project=here), ["stray-1"])
    found = entries_of(run().counted(), here, "account", "x")
    (key,) = list(found.other_projects)
    entry = found.other_projects[key]
    assert key == (there, f"gpu-1 of project {there}") and list(found.hosts) == ["gpu-1"]
    assert entry.name == {"default": "gpu-1"}.get(there, f"{there}-gpu-1")
    (stray,) = list(found.strays)
    assert stray.startswith("gpu-1 (stray ")
    claims = [noted_claim(name, item) for name, item in {**found.hosts, key[1]: entry}.items()]
    account = Account.of(claims, None)
    assert account.holder_of(SECOND_RESOURCE_ID, "gpu-1") == key[1] and not account.holder_of(RESOURCE_ID, "gpu-1")


def test_noted_name_of_a_machine_of_another_project_is_kept(run: Callable[..., Database]) -> None:
    run().note(purchase(project="red", note={"provision_resource_name": "trainer"}), [RESOURCE_ID])
    (entry,) = entries_of(run().counted(), "default", "account", "x").other_projects.values()
    assert entry.name == "trainer"


def test_times_are_in_utc(run: Callable[..., Database], registry_url: str) -> None:
    postgresql.execute(registry_url, "ALTER DATABASE postgres SET timezone = 'Asia/Tokyo'")
    try:
        row = run().claim(purchase("gpu-1"), NO_CEILING)
        with pytest.raises(ClaimedByOther) as caught:
            run().claim(purchase("gpu-2"), NO_CEILING)
    finally:
        postgresql.execute(registry_url, "ALTER DATABASE postgres RESET timezone")
    assert f"since {row.claimed_at.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}." in str(caught.value)


def test_settings_of_database_role_have_no_effect(run: Callable[..., Database], registry_url: str) -> None:
    """Connection strings do not show such settings."""
    settings = ("datestyle = 'German'", "standard_conforming_strings = off", "search_path = nowhere")
    for setting in settings:
        postgresql.execute(registry_url, f"ALTER ROLE postgres SET {setting}")
    try:
        row = run().claim(purchase(), NO_CEILING)
        assert run().note(purchase(claim=row.claim), [RESOURCE_ID]).state == "live"
        run().note_sweep("default")
        assert run().last_sweep("default") is not None
    finally:
        postgresql.execute(registry_url, "ALTER ROLE postgres RESET ALL")


ODD_TEXTS = ["gpü-日本", "a\x00b", "a\ud800b", "a\\u0000b", "a\\\x00b"]


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII"])
def test_any_text_can_be_noted(registry_url: str, encoding: str) -> None:
    """Texts from the API and from machines, in databases with and without an encoding."""
    name = f"of_{encoding.lower()}"
    own = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    postgresql.execute(registry_url, f"CREATE DATABASE {name} {own}")
    try:
        user = {**holder("gpü"), "user": "日本"}
        database = Database(psycopg.conninfo.make_conninfo(registry_url, dbname=name), user)
        row = database.claim(purchase("gpü-日本"), NO_CEILING)
        fact = purchase("gpü-日本", claim=row.claim, note={"provision_odd": ODD_TEXTS})
        noted = database.note(fact, [RESOURCE_ID])
        assert (noted.host, noted.holder, noted.resource_ids) == ("gpü-日本", user, [RESOURCE_ID])
        assert noted.note["provision_odd"] == ["gpü-日本", "a?b", "a?b", "a\\u0000b", "a\\?b"]
        assert database.compare_and_set(noted, {"provision_more": "ü"}).note == {**noted.note, "provision_more": "ü"}
    finally:
        postgresql.execute(registry_url, f"DROP DATABASE {name}")


def test_ledger_of_recent_time_does_not_scan_old_ends(run: Callable[..., Database], registry_url: str) -> None:
    run().claim(purchase(), NO_CEILING)
    ended = """
        INSERT INTO compute_index_supply.purchase
            (claim, project, host, account, offer, state, holder, held_until, claimed_at, ended_at)
        SELECT gen_random_uuid(), 'default', 'host ' || n, 'account', 'offer ' || n, 'ended', '{}', now(),
            now() - n * interval '1 hour', now() - n * interval '1 hour' + interval '30 minutes'
        FROM generate_series(1, 20000) AS n
    """
    postgresql.execute(registry_url, ended)
    postgresql.execute(registry_url, "ANALYZE compute_index_supply.purchase")
    assert len(run().ledger("default", time.time() - 36_000).bills) == 1 + 10
    query = _statements.LEDGER_OF_PROJECT.replace("%(project)s", "'default'")
    since = f"{time.time() - 36_000:.0f}"
    lines = postgresql.execute(registry_url, "EXPLAIN ANALYZE " + query.replace("%(since)s", since))
    plan = "\n".join(line for (line,) in lines)
    assert "purchase_ended" in plan and "Seq Scan on purchase" not in plan, plan
    # Neither does the query that frees lapsed claims, which runs while others wait at the gate.
    plan = "\n".join(line for (line,) in postgresql.execute(registry_url, f"EXPLAIN {_statements.FREE_LAPSED}"))
    assert "Seq Scan on purchase" not in plan, plan
