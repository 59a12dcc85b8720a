# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of a registry that several controllers share, in PostgreSQL. All SQL of the collection is here.

What makes a purchase single is the database: a host has one open claim, an offer one that is not void. Each step is one
transaction, and none is open while the API is asked. If the connection is lost, the same transaction is run again: it
finds its own work, also where the answer to COMMIT was lost. So the ids of claims are made by the client.

Claims and sums are made one after the other, behind a gate: a lock that is taken by a statement of its own, so that the
next one sees what the holder before has committed. That needs READ COMMITTED, whatever the database's default.

No clock of the controller is read for anything that others rely on.

This module util is private to the collection.
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
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from decimal import Decimal

from .._provision import claims
from .._provision import purchase_messages as say
from .._provision.counted import Count, Part, State
from .._provision.entry import MADE as BOUGHT
from .._provision.entry import MISSING_AT, SENT, read_entry
from .._provision.ledger import ENDED, HELD, MADE, Line, fold
from .._provision.spending import Bill, Ledger
from .._provision.sums import Sum
from ._protocol import GONE, ReadsOnly, RegistryError, same_account

if t.TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Params

    Connection = psycopg.Connection[t.Any]

MISSING_PSYCOPG = (
    "This Python has no psycopg 3, which a registry in PostgreSQL needs: install psycopg[binary], or add it to the"
    " execution environment."
)
VERSION = 1  # of the schema; migrations only add
HOLD = 60.0  # seconds that a claim is held; who buys renews it three times as often
CONNECT_TIMEOUT = 10  # seconds, unless the connection string has its own
STATEMENT_TIMEOUT = 10.0  # seconds, also for a lock and for an idle transaction
# Seconds that a step may take, with all its statements: a server that is frozen keeps no limit, and libpq has none.
STEP_TIMEOUT = 60.0
PATIENCE = 10.0  # seconds for which a database that is away is asked again before anything is bought
FACTS_PATIENCE = 60.0  # the same once something is bought
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries

_GATE = int.from_bytes(b"supply", "big")  # any number that others are unlikely to lock
_FIRST_EPOCH = 1  # of a new claim, as the table's default

# The statements. A name in %()s is a value, which never becomes a part of the text.

SCHEMA = """\
CREATE SCHEMA IF NOT EXISTS compute_index_supply;
CREATE TABLE compute_index_supply.purchase (
    claim uuid PRIMARY KEY,
    project text NOT NULL,
    host text NOT NULL,
    account text NOT NULL,
    offer text NOT NULL,
    state text NOT NULL CHECK (state IN ('buying', 'live', 'ending', 'stray', 'void', 'ended')),
    reason text,
    quoted_price_per_hour numeric,
    charged_price_per_hour numeric,
    price_per_hour numeric GENERATED ALWAYS AS (
        CASE WHEN state = 'buying' THEN greatest(quoted_price_per_hour, charged_price_per_hour)
        ELSE coalesce(charged_price_per_hour, quoted_price_per_hour) END
    ) STORED,
    epoch integer NOT NULL DEFAULT 1,
    holder jsonb NOT NULL,
    held_until timestamptz NOT NULL,
    sent_at timestamptz,
    expired_seen timestamptz,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    noted_at timestamptz,
    ended_at timestamptz,
    note jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX purchase_name ON compute_index_supply.purchase (project, host)
    WHERE state IN ('buying', 'live', 'ending');
CREATE UNIQUE INDEX purchase_offer ON compute_index_supply.purchase (offer) WHERE state <> 'void';
CREATE INDEX purchase_freed ON compute_index_supply.purchase (offer)
    WHERE state IN ('void', 'ended') AND sent_at IS NOT NULL;
CREATE INDEX purchase_project_sum ON compute_index_supply.purchase (project, host) INCLUDE (price_per_hour)
    WHERE state IN ('buying', 'live', 'ending', 'stray');
CREATE INDEX purchase_ended ON compute_index_supply.purchase (project, ended_at) WHERE state = 'ended';
CREATE INDEX purchase_account_sum ON compute_index_supply.purchase (account) INCLUDE (price_per_hour)
    WHERE state IN ('buying', 'live', 'ending', 'stray');
CREATE TABLE compute_index_supply.machine (
    resource text PRIMARY KEY,
    claim uuid NOT NULL REFERENCES compute_index_supply.purchase,
    place integer NOT NULL,
    gone_at timestamptz
);
CREATE INDEX machine_claim ON compute_index_supply.machine (claim);
CREATE TABLE compute_index_supply.sweep (
    project text PRIMARY KEY,
    swept_at timestamptz NOT NULL
);
CREATE TABLE compute_index_supply.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    cluster text,
    quarantine_until timestamptz,
    longest_post interval NOT NULL DEFAULT '30 minutes'
);
INSERT INTO compute_index_supply.meta (version) VALUES (1);
"""
# Another system, or another timeline of this one, may have lost what was committed before.
_CLUSTER = """
SELECT system_identifier::text || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system()
"""
_LIMITS = """
SELECT set_config('synchronous_commit', 'on', true), set_config('statement_timeout', %(ms)s, true),
    set_config('lock_timeout', %(ms)s, true), set_config('idle_in_transaction_session_timeout', %(ms)s, true)
"""
_LOCK = "SELECT pg_advisory_xact_lock(%(gate)s)"
_HAS_SCHEMA = "SELECT to_regclass('compute_index_supply.meta') IS NOT NULL"
_META = """
SELECT version, cluster IS DISTINCT FROM %(cluster)s,
    CASE WHEN quarantine_until > clock_timestamp() THEN quarantine_until END
FROM compute_index_supply.meta
"""
# A purchase that was claimed before may still be under way, and what was seen as expired may be older than the claim.
_MOVED = """
UPDATE compute_index_supply.meta SET cluster = %(cluster)s,
    quarantine_until = CASE WHEN cluster IS NULL THEN NULL ELSE clock_timestamp() + longest_post END
"""
# The mark of a claim may be lost as well, so each may have been sent.
_DOUBT_OPEN = """
UPDATE compute_index_supply.purchase SET expired_seen = NULL, sent_at = coalesce(sent_at, clock_timestamp())
WHERE state = 'buying'
"""
_ROW = """
SELECT p.claim::text, p.project, p.host, p.account, p.offer, p.state, p.reason, p.price_per_hour, p.epoch, p.holder,
    p.held_until > clock_timestamp() AS held, p.sent_at, p.expired_seen, p.claimed_at, p.note,
    ARRAY(SELECT m.resource FROM compute_index_supply.machine m WHERE m.claim = p.claim AND m.gone_at IS NULL
        ORDER BY m.place) AS resource_ids,
    clock_timestamp() AS seen_at,
    (SELECT extract(epoch FROM s.longest_post)::float8 FROM compute_index_supply.meta s) AS longest_post
FROM compute_index_supply.purchase p
"""
_BY_CLAIM = _ROW + "WHERE p.claim = %(claim)s"
_OPEN = _ROW + "WHERE p.project = %(project)s AND p.host = %(host)s AND p.state IN ('buying', 'live', 'ending')"
_OF_OFFER = _ROW + "WHERE p.offer = %(offer)s AND p.state <> 'void'"
_COUNTED = (
    _ROW
    + """
WHERE p.state IN ('buying', 'live', 'ending', 'stray') AND (%(project)s::text IS NULL OR p.project = %(project)s)
ORDER BY p.project, p.host, p.claimed_at
"""
)
# What another claim has bought under the same offer is settled, also if it has ended: a list may still have it.
_FREED = (
    _ROW
    + """
WHERE p.offer = ANY(%(offers)s) AND p.state = 'void' AND p.sent_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM compute_index_supply.purchase o WHERE o.offer = p.offer AND o.state <> 'void')
ORDER BY p.claimed_at DESC
"""
)
# What was claimed and never marked was never sent, and what is void was never bought.
_LEDGER = """
SELECT p.project, p.host, p.offer, p.note, p.reason,
    greatest(p.quoted_price_per_hour, p.charged_price_per_hour)::float8 AS price_per_hour,
    extract(epoch FROM p.claimed_at)::float8 AS begin,
    CASE WHEN p.state = 'ended' AND isfinite(p.ended_at) THEN extract(epoch FROM p.ended_at)::float8 END AS end,
    p.state <> 'ended' AS held,
    ARRAY(SELECT m.resource FROM compute_index_supply.machine m WHERE m.claim = p.claim
        ORDER BY m.place) AS resource_ids
FROM compute_index_supply.purchase p
"""
_LEDGER_OF_CLAIM = _LEDGER + "WHERE p.claim = %(claim)s"
_LEDGER_OF_PROJECT = (
    _LEDGER
    + """
WHERE p.project = %(project)s AND (
    (p.state IN ('buying', 'live', 'ending', 'stray') AND (p.state <> 'buying' OR p.sent_at IS NOT NULL))
    OR (p.state = 'ended' AND p.ended_at > to_timestamp(%(since)s)))
ORDER BY p.claimed_at
"""
)
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_CLAIM = """
INSERT INTO compute_index_supply.purchase
    (claim, project, host, account, offer, state, quoted_price_per_hour, holder, held_until, note)
VALUES (%(claim)s, %(project)s, %(host)s, %(account)s, %(offer)s, 'buying', %(price_per_hour)s, %(holder)s,
    clock_timestamp() + %(hold)s * interval '1 second', %(note)s)
ON CONFLICT DO NOTHING
"""
# `claims.counts` in SQL. Under the gate, where marks are made, too: whose hold has run out has sent nothing, and after
# this it cannot mark its claim any more. A mark may be lost in a failover, so none is freed before that is noted.
_FREE_LAPSED = f"""
UPDATE compute_index_supply.purchase SET state = 'void', reason = 'never sent', epoch = epoch + 1
WHERE state = 'buying' AND sent_at IS NULL AND held_until <= clock_timestamp()
    AND EXISTS (SELECT FROM compute_index_supply.meta WHERE cluster = ({_CLUSTER}))
"""
# What two looks did not find fills no ceiling per hour (`counted.State.MISSING`). In the ledger it goes on.
_SUM = f"""
SELECT coalesce(sum(p.price_per_hour), 0), count(*) FILTER (WHERE p.price_per_hour IS NULL)
FROM (SELECT * FROM compute_index_supply.purchase
    WHERE state = 'buying' OR coalesce(note->>'{MISSING_AT}', '') = '') p
"""
_OF_PROJECT = "WHERE p.project = %(project)s AND p.state IN ('buying', 'live', 'ending', 'stray')"
_OF_ACCOUNT = "WHERE p.account = ANY(%(accounts)s) AND p.state IN ('buying', 'live', 'ending', 'stray')"
_IN_ORDER = " ORDER BY p.project, p.host, p.claimed_at"
_ACCOUNTS = """
SELECT DISTINCT account FROM compute_index_supply.purchase WHERE state IN ('buying', 'live', 'ending', 'stray')
"""
_MARK = """
UPDATE compute_index_supply.purchase SET sent_at = clock_timestamp(),
    held_until = clock_timestamp() + %(hold)s * interval '1 second'
WHERE claim = %(claim)s AND epoch = %(epoch)s AND holder = %(holder)s AND state = 'buying'
    AND held_until > clock_timestamp()
"""
_RENEW = """
UPDATE compute_index_supply.purchase SET held_until = clock_timestamp() + %(seconds)s * interval '1 second'
WHERE claim = %(claim)s AND epoch = %(epoch)s AND state = 'buying'
"""
# Only what was sent needs to be settled. The last condition finds this run's own work, whose COMMIT was not answered.
_TAKE_OVER = """
UPDATE compute_index_supply.purchase SET epoch = %(epoch)s + 1, holder = %(holder)s,
    held_until = clock_timestamp() + %(hold)s * interval '1 second',
    quoted_price_per_hour = greatest(quoted_price_per_hour, %(price_per_hour)s::numeric),
    note = coalesce(%(note)s, note)
WHERE claim = %(claim)s AND state = 'buying' AND sent_at IS NOT NULL AND (
    (epoch = %(epoch)s AND (held_until <= clock_timestamp() OR holder = %(holder)s))
    OR (epoch = %(epoch)s + 1 AND holder = %(holder)s))
"""
_KEEP = """
UPDATE compute_index_supply.purchase SET note = (note || %(note)s) - %(gone)s::text[],
    expired_seen = CASE WHEN %(expired)s THEN coalesce(expired_seen, clock_timestamp()) ELSE expired_seen END
WHERE claim = %(claim)s AND epoch = %(epoch)s
"""
# Whatever else has changed, this is decided by the note as it was read.
_ALTER = """
UPDATE compute_index_supply.purchase SET note = (note || %(note)s) - %(gone)s::text[]
WHERE claim = %(claim)s AND epoch = %(epoch)s AND note = %(known)s AND state NOT IN ('void', 'ended')
"""
_SWEPT = "SELECT swept_at FROM compute_index_supply.sweep WHERE project = %(project)s"
_SWEEP = """
INSERT INTO compute_index_supply.sweep (project, swept_at) VALUES (%(project)s, clock_timestamp())
ON CONFLICT (project) DO UPDATE SET swept_at = excluded.swept_at
"""
_VOID = """
UPDATE compute_index_supply.purchase SET state = 'void', reason = %(reason)s, ended_at = clock_timestamp(),
    note = note || %(note)s
WHERE claim = %(claim)s AND epoch = %(epoch)s AND state IN ('buying', 'void')
"""
_YIELD = """
UPDATE compute_index_supply.purchase SET state = 'void', reason = 'sold to another claim', epoch = epoch + 1
WHERE offer = %(offer)s AND state = 'buying' AND claim <> %(claim)s
"""
_NOTE_LOST = """
INSERT INTO compute_index_supply.purchase
    (claim, project, host, account, offer, state, reason, charged_price_per_hour, holder, held_until, sent_at,
        claimed_at, noted_at, note)
VALUES (%(claim)s, %(project)s, %(host)s, %(account)s, %(offer)s, %(state)s, 'noted without a claim',
    %(price_per_hour)s, %(holder)s, clock_timestamp(), clock_timestamp(),
    least(clock_timestamp(), to_timestamp(%(begun)s)), clock_timestamp(), %(note)s)
"""
_NOTE = """
UPDATE compute_index_supply.purchase SET state = %(state)s,
    charged_price_per_hour = coalesce(%(price_per_hour)s::numeric, charged_price_per_hour),
    expired_seen = NULL, noted_at = clock_timestamp(), note = (note || %(note)s) - %(gone)s::text[]
WHERE claim = %(claim)s
"""
# Earlier versions noted ids as the API spelled them.
_OWNERS = """
SELECT lower(resource), claim::text FROM compute_index_supply.machine
WHERE resource = ANY(%(ids)s) OR resource = ANY(SELECT upper(id) FROM unnest(%(ids)s::text[]) AS asked (id))
"""
_MACHINES = """
INSERT INTO compute_index_supply.machine (resource, claim, place)
SELECT id, %(claim)s, place FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS noted (id, place)
WHERE NOT EXISTS (SELECT FROM compute_index_supply.machine known WHERE known.resource = upper(id))
ON CONFLICT DO NOTHING
"""
_BEGIN_END = """
UPDATE compute_index_supply.purchase SET state = 'ending'
WHERE claim = %(claim)s AND state IN ('live', 'stray', 'ending')
"""
_END = """
UPDATE compute_index_supply.purchase SET state = 'ended', ended_at = coalesce(ended_at, clock_timestamp()),
    reason = CASE WHEN state = 'ending' THEN %(why)s ELSE reason END,
    charged_price_per_hour = greatest(charged_price_per_hour, %(price_per_hour)s::numeric)
WHERE claim = %(claim)s AND state IN ('ending', 'ended')
"""
# What a host has beside its own machine never has its name, so it has no state of ending either.
_END_STRAY = """
UPDATE compute_index_supply.purchase p SET state = 'ended', ended_at = clock_timestamp(), reason = %(why)s
WHERE p.offer = %(offer)s AND p.state = 'stray' AND NOT EXISTS (
    SELECT FROM compute_index_supply.machine m
    WHERE m.claim = p.claim AND m.gone_at IS NULL AND m.resource <> ALL(%(ids)s))
RETURNING p.claim::text AS claim
"""
_GONE = """
UPDATE compute_index_supply.machine SET gone_at = coalesce(gone_at, clock_timestamp()) WHERE claim = %(claim)s
"""

# What ended in another registry was sent there. What lost its entry there has no end, and counts as running.
_NOTE_ENDED = """
INSERT INTO compute_index_supply.purchase
    (claim, project, host, account, offer, state, reason, charged_price_per_hour, holder, held_until, claimed_at,
        ended_at, note)
VALUES (%(claim)s, %(project)s, %(host)s, %(account)s, %(offer)s, 'ended', %(why)s, %(price_per_hour)s, %(holder)s,
    clock_timestamp(), to_timestamp(%(begun)s), coalesce(to_timestamp(%(end)s::float8), 'infinity'), %(note)s)
ON CONFLICT DO NOTHING
"""


class Away(RegistryError):
    """The database cannot be asked, or did not answer in time."""

    error_class = "unavailable"


class Taken(RegistryError):
    """The name or the offer of a claim belongs to another one, ``row``."""

    error_class = "conflict"

    def __init__(self, message: str, row: Row) -> None:
        super().__init__(message)
        self.row = row


class TakenOver(RegistryError):
    """This run holds the claim no more; nothing may be sent under it any more."""

    error_class = "conflict"


class TooDear(RegistryError):
    """A claim that would exceed the ceiling of a ``project``, or of the account (None), or may exceed it."""

    error_class = "price"

    def __init__(self, message: str, project: str | None) -> None:
        super().__init__(message)
        self.project = project


class Contested(RegistryError):
    """Machines that were noted, but are not the host's alone: a person decides."""

    error_class = "conflict"


@dataclass(frozen=True)
class Row:
    """A claim as the database has it; ``seen_at`` is the database's time when it was read.

    ``longest_post``: the registry's setting, in seconds; see `Registry`.
    """

    claim: str
    project: str
    host: str
    account: str
    offer: str
    state: str
    reason: str | None
    price_per_hour: Decimal | None
    epoch: int
    holder: dict[str, t.Any]
    held: bool
    sent_at: datetime | None
    expired_seen: datetime | None
    claimed_at: datetime
    note: dict[str, t.Any]
    resource_ids: list[str]
    seen_at: datetime
    longest_post: float

    @property
    def billed_to(self) -> str:
        """The account in its one spelling."""
        return same_account(self.account)

    @property
    def counts(self) -> bool:
        """See `claims.counts`."""
        return claims.counts(self.state, is_sent=self.sent_at is not None, is_held=self.held)

    def label(self, project: str) -> str:
        """The host, as a project calls it."""
        of = "" if self.project == project else f" of project {self.project}"
        # A host has these beside its own machine.
        return f"{self.host}{of}" + (f" (stray {self.claim[:8]})" if self.state == claims.STRAY else "")

    def part(self, claim: str, project: str) -> Part:
        """What it is in the sums for a ``claim`` of a project."""
        entry = read_entry(
            {
                **self.note,
                "provision_procured_offer_id": self.offer,
                "provision_resource_ids": self.resource_ids,
                "provision_purchase": SENT if self.state == claims.BUYING else BOUGHT,
                "provision_price_per_hour": None if self.price_per_hour is None else float(self.price_per_hour),
                "provision_journaled_at": (self.sent_at or self.claimed_at).isoformat(),
            }
        )
        part = Part.of_entry(self.label(project), entry)
        return replace(part, state=State.ORDERED, since=None) if self.claim == claim else part

    @property
    def needs_settling(self) -> bool:
        """See `claims.needs_settling`."""
        return claims.needs_settling(self.state, is_sent=self.sent_at is not None, is_held=self.held)


@dataclass(frozen=True)
class Purchase:
    """What is bought for whom. ``claim`` is a UUID made by the client; ``price_per_hour`` is in USD per hour.

    ``begun``: since when it may be billed, in seconds since the epoch, where that was before it was noted.
    """

    claim: str
    project: str
    host: str
    account: str
    offer: str
    price_per_hour: float | None = None
    note: dict[str, t.Any] = field(default_factory=dict)
    begun: float | None = None


@dataclass(frozen=True)
class Ceilings:
    """The most that all counted claims may cost, in USD per hour, with the new one."""

    max_total_price_per_hour: float | None = None
    max_account_price_per_hour: float | None = None


Step = t.Callable[["Connection"], t.Any]


class Database:
    """The steps of a purchase, each a transaction on a connection of its own, so that few are open at once.

    Who takes many steps at once for many hosts lets it ``keep`` the connection between them, until `close`.

    ``holder`` says who this is (``host``, ``user``, ``job``), with a ``run`` that nobody else has. Each method raises
    RegistryError, whose text has nothing of the connection string but host, port, and name of the database; one that is
    ``read_only`` raises ReadsOnly for all that would write.
    """

    def __init__(
        self,
        url: str,
        holder: t.Mapping[str, str],
        *,
        hold: float = HOLD,
        patience: float = PATIENCE,
        facts_patience: float = FACTS_PATIENCE,
        keep: bool = False,
        read_only: bool = False,
    ) -> None:
        self.read_only = read_only
        self._psycopg = import_psycopg()
        self._url = url
        self._holder = dict(holder)
        self.hold = hold
        self._patience = patience
        self._facts_patience = facts_patience
        self._keep = keep
        self._kept: Connection | None = None
        self.place = self._place()
        self.where = f"The registry {self.place}"

    def close(self) -> None:
        """Close the connection that is kept, if one is."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    # Reading

    def open_claim(self, project: str, host: str) -> Row | None:
        """The open claim of a host; None also where nobody has made the tables yet."""
        rows = self._read(_OPEN, {"project": project, "host": host})
        return next((row for row in rows if row.counts), None)

    def claim_by_id(self, claim: str) -> Row | None:
        """A claim, whatever its state; None if the database has lost it."""
        return next(iter(self._read(_BY_CLAIM, {"claim": claim})), None)

    def counted(self, project: str | None = None) -> list[Row]:
        """All claims that may be billed, or may still buy, of one project or of all."""
        return [row for row in self._read(_COUNTED, {"project": project}) if row.counts]

    def ledger(self, project: str, since: float = 0.0) -> Ledger:
        """What was or may be billed since a moment (seconds since the epoch), of all hosts of a project."""

        def step(connection: Connection) -> Ledger:
            with self._transaction(connection, read_only=True):
                bills = self._bills(connection, _LEDGER_OF_PROJECT, {"project": project, "since": since})
                now = self._execute(connection, _NOW).fetchone()
                return Ledger(tuple(bills), now[0] if now else time.time())

        try:
            return t.cast(Ledger, self._run(step, self._patience, make=False))
        except _NoTables:
            return Ledger((), time.time())

    def now(self) -> float:
        """The database's time, in seconds since the epoch. Raises RegistryError."""
        return float(self._run(lambda connection: self._execute(connection, _NOW).fetchone(), self._patience)[0])

    def freed(self, offers: t.Collection[str]) -> list[Row]:
        """Freed claims of these offers, under which a purchase was sent, where no other has its offer; newest first."""
        return self._read(_FREED, {"offers": list(offers)})

    # Buying

    def claim(self, wanted: Purchase, ceilings: Ceilings) -> Row:
        """Claim the host's name and the offer, then mark the claim as sent. Raises Taken, TakenOver, TooDear.

        These are two transactions. After the first one it is certain that nothing was sent, and a claim that ends
        there is in the way of others only while its hold lasts.
        """

        def step(connection: Connection) -> Row:
            with self._transaction(connection):
                self._enter(connection)
                self._insert(connection, wanted)
                self._check(connection, wanted, ceilings)
                row = self._row(connection, wanted.claim)
            return self._marked(connection, row)

        return self._bought_with(step)

    def claim_again(
        self, row: Row, price_per_hour: float | None, note: t.Mapping[str, t.Any], ceilings: Ceilings
    ) -> Row:
        """Claim the same offer once more, under the next epoch, and mark it as sent. Raises TakenOver, TooDear."""

        def step(connection: Connection) -> Row:
            with self._transaction(connection):
                self._enter(connection)
                taken = self._take(connection, row, price_per_hour, note)
                self._check(connection, taken, ceilings)
            return self._marked(connection, taken)

        return self._bought_with(step)

    def take_over(self, row: Row) -> Row:
        """Hold a claim that nobody holds any more, to settle it. Raises TakenOver if another run was faster."""

        def step(connection: Connection) -> Row:
            with self._transaction(connection):
                return self._take(connection, row)

        return t.cast(Row, self._run(step, self._patience))

    def renew(self, row: Row, seconds: float) -> None:
        """Hold the claim for so many seconds from now on; tried once, since the hold is a courtesy."""
        values = {"claim": row.claim, "epoch": row.epoch, "seconds": seconds}
        self._run(lambda connection: self._write(connection, _RENEW, values), 0.0)

    # Facts: these are accepted whatever the state and the epoch

    def note(self, fact: Purchase, resource_ids: t.Sequence[str], gone: t.Sequence[str] = ()) -> Row:
        """Note that the purchase was made, and its machines; keys of the note that are ``gone`` are removed.

        Raises Contested if they are not the host's alone; they are on record then, too.
        """
        ids = list(dict.fromkeys(resource_ids))

        def step(connection: Connection) -> tuple[Row, str]:
            with self._transaction(connection):
                self._execute(connection, _LOCK, {"gate": _GATE})
                self._execute(connection, _FREE_LAPSED)
                return self._noted(connection, fact, ids, list(gone))

        row, trouble = self._run(step, self._facts_patience)
        if trouble:
            raise Contested(trouble)
        return t.cast(Row, row)

    def keep(
        self, row: Row, changes: t.Mapping[str, t.Any], gone: t.Sequence[str] = (), *, expired: bool = False
    ) -> Row:
        """Keep more beside the claim. ``expired``: its offer is seen as expired, since now unless it was before.

        Raises TakenOver: that a purchase was answered must not be noted of the one that another run has sent since.
        """
        return self._change(row, _KEEP, {**self._values(note=changes), "gone": list(gone), "expired": expired})

    def alter(self, row: Row, changes: t.Mapping[str, t.Any], gone: t.Sequence[str]) -> Row:
        """The same, if the note is still as it was read. Raises TakenOver if it is not."""
        known = self._values(note=row.note)["note"]
        return self._change(row, _ALTER, {**self._values(note=changes), "gone": list(gone), "known": known})

    # Leases

    def swept(self, project: str) -> datetime | None:
        """When the leases of the project were enforced last; None also where nobody has made the tables yet."""

        def step(connection: Connection) -> datetime | None:
            with self._transaction(connection, read_only=True):
                found = self._execute(connection, _SWEPT, {"project": project}).fetchone()
                return found[0] if found else None

        try:
            return t.cast("datetime | None", self._run(step, self._patience, make=False))
        except _NoTables:
            return None

    def note_sweep(self, project: str) -> None:
        """Note that they were enforced now."""
        self._run(lambda connection: self._write(connection, _SWEEP, {"project": project}), self._patience)

    # Ends

    def void(self, row: Row, reason: str, note: t.Mapping[str, t.Any]) -> Row:
        """Free the claim, of which nothing was bought. Raises TakenOver if it is not this run's to say."""
        return self._change(row, _VOID, {**self._values(note=note), "reason": reason})

    def begin_end(self, row: Row) -> None:
        """Note that the machines are about to be deleted."""
        self._run(lambda connection: self._write(connection, _BEGIN_END, {"claim": row.claim}), self._patience)

    def end(self, row: Row, why: str = GONE, price_per_hour: float | None = None) -> Bill | None:
        """Note that the machines are gone, and why, and a higher price; only what was about to be deleted ends.

        Returns what they have cost.
        """

        def step(connection: Connection) -> list[Bill]:
            with self._transaction(connection):
                values = {**self._values(price_per_hour=price_per_hour), "claim": row.claim, "why": why}
                if self._execute(connection, _END, values).rowcount:
                    self._execute(connection, _GONE, values)
                return self._bills(connection, _LEDGER_OF_CLAIM, values)

        return next(iter(self._run(step, self._facts_patience)), None)

    def end_stray(self, offer: str, ids: t.Collection[str], why: str = GONE) -> bool:
        """Note that what a host has beside its own machine is gone; whether it is, and has no others than these ids."""

        def step(connection: Connection) -> bool:
            with self._transaction(connection):
                found = self._execute(connection, _END_STRAY, {"offer": offer, "ids": list(ids), "why": why}).fetchall()
                for (claim,) in found:
                    self._execute(connection, _GONE, {"claim": claim})
                return bool(found)

        return t.cast(bool, self._run(step, self._facts_patience))

    def note_ended(self, account: str, bills: t.Sequence[Bill]) -> int:
        """Note purchases of another registry that have ended, or have lost their entry; how many were not known.

        Each has a ``begin``.
        """

        def step(connection: Connection) -> int:
            with self._transaction(connection):
                return sum(self._note_ended(connection, account, bill) for bill in bills)

        return t.cast(int, self._run(step, self._patience))

    # Parts of the steps

    def _note_ended(self, connection: Connection, account: str, bill: Bill) -> bool:
        note = {"provision_groups": list(bill.groups)}
        claim = str(uuid.uuid4())
        fact = Purchase(
            claim, bill.project, bill.host, account, bill.offer_id, bill.price_per_hour, note, begun=bill.begin
        )
        values = {**self._values(fact), "end": bill.end, "why": bill.why}
        if not self._execute(connection, _NOTE_ENDED, values).rowcount:
            return False
        self._execute(connection, _MACHINES, {"claim": claim, "ids": list(bill.resource_ids)})
        if not bill.runs:
            self._execute(connection, _GONE, {"claim": claim})
        return True

    def _change(self, row: Row, query: str, values: dict[str, t.Any]) -> Row:
        """The claim after a statement that is the newest epoch's alone. Raises TakenOver."""

        def step(connection: Connection) -> Row:
            with self._transaction(connection):
                if not self._execute(connection, query, {**values, "claim": row.claim, "epoch": row.epoch}).rowcount:
                    raise self._taken_over(row)
                return self._row(connection, row.claim)

        return t.cast(Row, self._run(step, self._facts_patience))

    def _bought_with(self, step: Step) -> Row:
        """The claim that the step makes; what follows it is about a purchase that may be billed, so it is patient."""
        row = t.cast(Row, self._run(step, self._patience))
        self._patience = self._facts_patience
        return row

    def _enter(self, connection: Connection) -> None:
        """Wait at the gate; then see whether this version, and this database, may claim or send. Raises RegistryError.

        What counts no more is freed, so that neither a sum nor a name nor an offer has it.
        """
        self._execute(connection, _LOCK, {"gate": _GATE})
        cluster = self._execute(connection, _CLUSTER).fetchone()
        values = {"cluster": cluster and cluster[0]}
        found = self._execute(connection, _META, values).fetchone()
        if found is None:
            raise RegistryError(f"{self.where} has lost the row of its table meta.")
        version, moved, quarantined_until = found
        if version > VERSION:
            raise RegistryError(
                f"{self.where} was made by a newer version of the collection (schema {version}, here {VERSION}): update"
                " the collection to buy with it."
            )
        if moved:
            raise _Moved(values)
        if quarantined_until is not None:
            raise Away(
                f"{self.where} has failed over, and may have lost claims: nothing new is bought until"
                f" {_time(quarantined_until)}, when what was under way has ended."
            )
        self._execute(connection, _FREE_LAPSED)

    def _insert(self, connection: Connection, wanted: Purchase) -> None:
        """Make the claim, or find it, if its COMMIT was not answered. Raises Taken; TakenOver if it was taken since."""
        values = {**self._values(wanted), "hold": self.hold}
        if self._execute(connection, _CLAIM, values).rowcount:
            return
        for row in self._rows(connection, _BY_CLAIM, values):
            if (row.state, row.epoch, row.holder) != (claims.BUYING, _FIRST_EPOCH, self._holder):
                raise self._taken_over(row)
            return
        for query in (_OPEN, _OF_OFFER):
            for row in self._rows(connection, query, values):
                verb = "is buying" if row.state == claims.BUYING else "has bought"
                what = f"host {row.host} of project {row.project} {verb} offer {row.offer}"
                raise Taken(f"{self.where} says that {what}, since {_time(row.claimed_at)}.", row)
        raise RegistryError(f"{self.where} has not taken the claim of offer {wanted.offer}.")

    def _check(self, connection: Connection, wanted: Purchase | Row, ceilings: Ceilings) -> None:
        """Compare the sums, with the own claim in them, with the ceilings. Raises TooDear.

        If a sum exceeds one, the claims themselves decide, so that a refusal names what its sum has: one of them may
        just have ended.
        """
        values = {"project": wanted.project, "accounts": self._spellings(connection, wanted.account, ceilings)}
        for scope, project, whose, ceiling in (
            (_OF_PROJECT, wanted.project, f"project {wanted.project}", ceilings.max_total_price_per_hour),
            (_OF_ACCOUNT, None, f"account {wanted.account}", ceilings.max_account_price_per_hour),
        ):
            if ceiling is None or not self._sum(connection, scope, values).exceeds(ceiling):
                continue
            rows = self._rows(connection, _ROW + scope + _IN_ORDER, values)
            count = Count(tuple(row.part(wanted.claim, wanted.project) for row in rows))
            if count.sum.exceeds(ceiling):
                raise TooDear(say.above_registered(wanted.offer, whose, count, ceiling, self.where), project)

    def _sum(self, connection: Connection, scope: str, values: Params) -> Sum:
        """The sum of prices; the database adds decimals, so it is as exact as a ceiling."""
        total, unknown = t.cast("tuple[Decimal, int]", self._execute(connection, _SUM + scope, values).fetchone())
        return Sum(float(total), unknown)

    def _spellings(self, connection: Connection, account: str, ceilings: Ceilings) -> list[str]:
        """All by which the account's claims are noted; none where no ceiling asks for them."""
        if ceilings.max_account_price_per_hour is None:
            return []
        known = (row[0] for row in self._execute(connection, _ACCOUNTS).fetchall())
        return [each for each in known if same_account(each) == same_account(account)]

    def _take(
        self,
        connection: Connection,
        row: Row,
        price_per_hour: float | None = None,
        note: t.Mapping[str, t.Any] | None = None,
    ) -> Row:
        """The claim under the next epoch; without a note it keeps the one that it has."""
        values = {
            **self._values(note=note, price_per_hour=price_per_hour),
            "claim": row.claim,
            "epoch": row.epoch,
            "hold": self.hold,
        }
        if not self._execute(connection, _TAKE_OVER, values).rowcount:
            raise self._taken_over(row)
        return self._row(connection, row.claim)

    def _marked(self, connection: Connection, row: Row) -> Row:
        """Mark the claim as sent: from then on only an answer frees it. Raises TakenOver, and then nothing was sent."""
        with self._transaction(connection):
            self._enter(connection)
            values = {**self._values(), "claim": row.claim, "epoch": row.epoch, "hold": self.hold}
            if not self._execute(connection, _MARK, values).rowcount:
                raise self._taken_over(row)
            return self._row(connection, row.claim)

    def _noted(self, connection: Connection, fact: Purchase, ids: list[str], gone: list[str]) -> tuple[Row, str]:
        """The claim with its machines, and what is wrong with that."""
        values: dict[str, t.Any] = {**self._values(fact), "ids": ids, "gone": gone}
        mine = next(iter(self._rows(connection, _BY_CLAIM, values)), None)
        others, rivals = (
            {row.claim: row for row in self._rows(connection, query, values) if row.claim != fact.claim}
            for query in (_OPEN, _OF_OFFER)
        )
        rival = next(iter(rivals.values()), None)  # an offer has one claim that is not void
        owners = dict(self._execute(connection, _OWNERS, {"ids": ids}).fetchall())
        verdict = claims.noted(
            mine.state if mine else None,
            adds=not owners.keys() >= set(ids),
            # A rival of the same host gives the name back with the offer.
            name_is_free=others.keys() <= rivals.keys(),
            rival=rival.state if rival else None,
        )
        if verdict.state is None:
            row, trouble = self._given(connection, t.cast(Row, rival), ids)
        else:
            if verdict.frees_rival:
                self._execute(connection, _YIELD, values)
            row, trouble = self._noted_as(connection, verdict.state, values, is_known=mine is not None)
        foreign = [f"{each} is noted for claim {owner}" for each, owner in owners.items() if owner != fact.claim]
        return row, self._contested(fact, ids, [*foreign, *filter(None, [trouble])])

    def _contested(self, fact: Purchase, ids: list[str], troubles: list[str]) -> str:
        """What is wrong with a purchase that was noted; empty if nothing is."""
        named = f"Offer {fact.offer} of host {fact.host} ({', '.join(ids) or 'no machine known yet'}) is contested"
        return f"{named}: {'; '.join(troubles)}. {self.where} has it on record." if troubles else ""

    def _given(self, connection: Connection, rival: Row, ids: list[str]) -> tuple[Row, str]:
        """The claim that has bought the offer, with these machines, and what is wrong with that."""
        self._execute(connection, _MACHINES, {"ids": ids, "claim": rival.claim})
        trouble = f"host {rival.host} of project {rival.project} has bought the offer, too"
        return self._row(connection, rival.claim), trouble

    def _noted_as(
        self, connection: Connection, state: str, values: dict[str, t.Any], *, is_known: bool
    ) -> tuple[Row, str]:
        """The claim in its new state, with its machines, and what is wrong with that."""
        self._execute(connection, _NOTE if is_known else _NOTE_LOST, {**values, "state": state})
        self._execute(connection, _MACHINES, values)
        row = self._row(connection, values["claim"])
        return row, "the host has another purchase" if row.state == claims.STRAY else ""

    def _values(
        self,
        what: Purchase | None = None,
        *,
        note: t.Mapping[str, t.Any] | None = None,
        price_per_hour: float | None = None,
    ) -> dict[str, t.Any]:
        """The values of a statement, in the database's types."""
        from psycopg.types.json import Jsonb

        values: dict[str, t.Any] = {} if what is None else dict(vars(what))
        price_per_hour, note = (price_per_hour, note) if what is None else (what.price_per_hour, what.note)
        values["price_per_hour"] = None if price_per_hour is None else Decimal(str(price_per_hour))
        values["note"] = None if note is None else Jsonb(dict(note))
        values["holder"] = Jsonb(self._holder)
        return values

    def _taken_over(self, row: Row) -> TakenOver:
        return TakenOver(f"{self.where} says that this run holds the purchase of offer {row.offer} no more.")

    # Talking to the database

    def _execute(self, connection: Connection, query: str, values: Params | None = None) -> psycopg.Cursor[t.Any]:
        return connection.execute(query.encode(), values)

    def _rows(self, connection: Connection, query: str, values: Params) -> list[Row]:
        from psycopg.rows import class_row

        with connection.cursor(row_factory=class_row(Row)) as cursor:
            return cursor.execute(query.encode(), values).fetchall()

    def _bills(self, connection: Connection, query: str, values: Params) -> list[Bill]:
        from psycopg.rows import dict_row

        with connection.cursor(row_factory=dict_row) as cursor:
            return fold(line for row in cursor.execute(query.encode(), values) for line in _lines(row))

    def _row(self, connection: Connection, claim: str) -> Row:
        for row in self._rows(connection, _BY_CLAIM, {"claim": claim}):
            return row
        raise RegistryError(f"{self.where} has lost claim {claim}.")

    def _write(self, connection: Connection, query: str, values: Params) -> None:
        with self._transaction(connection):
            self._execute(connection, query, values)

    def _read(self, query: str, values: Params) -> list[Row]:
        def step(connection: Connection) -> list[Row]:
            with self._transaction(connection, read_only=True):
                return self._rows(connection, query, values)

        try:
            return t.cast("list[Row]", self._run(step, self._patience, make=False))
        except _NoTables:
            return []

    @contextlib.contextmanager
    def _transaction(self, connection: Connection, *, read_only: bool = False) -> t.Iterator[None]:
        """A transaction whose properties are said explicitly: those of a session do not survive every pooler.

        The one way to any change.
        """
        if self.read_only and not read_only:
            raise ReadsOnly(self.where)
        connection.isolation_level = self._psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = read_only
        with connection.transaction():
            self._execute(connection, _LIMITS, {"ms": str(int(STATEMENT_TIMEOUT * 1000))})
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
        options: dict[str, t.Any] = {"client_encoding": "utf8"}
        if "connect_timeout" not in self._psycopg.conninfo.conninfo_to_dict(self._url):
            options["connect_timeout"] = CONNECT_TIMEOUT
        # Prepared statements do not survive a pooler either.
        connection = self._psycopg.connect(self._url, prepare_threshold=None, autocommit=True, **options)
        return t.cast("Connection", connection)

    def _run(self, step: Step, patience: float, *, make: bool = True) -> t.Any:
        """What the step answers; where the connection is lost, the same step runs again for ``patience`` seconds."""
        deadline, pause, made = time.monotonic() + patience, FIRST_PAUSE, False
        while True:
            try:
                with self._connected() as connection, _limited(connection):
                    return step(connection)
            except _Moved as moved:
                self._run(functools.partial(self._move, values=moved.values), patience)
            except self._psycopg.errors.UndefinedTable:
                if made or not make:
                    raise _NoTables(f"{self.where} has no tables.") from None
                self.make_tables()
                made = True
            except self._psycopg.Error as error:
                reason, passes = self._reason(error)
                if not passes or time.monotonic() + pause > deadline:
                    raise Away(f"{self.where} {reason}.") from None
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _move(self, connection: Connection, values: Params) -> None:
        """Note which cluster this is; the first one is no reason to wait."""
        with self._transaction(connection):
            self._execute(connection, _LOCK, {"gate": _GATE})
            found = self._execute(connection, _META, values).fetchone()
            if found and found[1]:
                self._execute(connection, _MOVED, values)
                self._execute(connection, _DOUBT_OPEN)

    def has_tables(self) -> bool:
        """Whether anybody has made the tables."""

        def step(connection: Connection) -> bool:
            return bool((self._execute(connection, _HAS_SCHEMA).fetchone() or (False,))[0])

        return bool(self._run(step, self._patience, make=False))

    def make_tables(self) -> None:
        """Make the tables, unless another run is faster."""
        errors = self._psycopg.errors
        try:
            with contextlib.closing(self._connect()) as connection, _limited(connection), self._transaction(connection):
                self._execute(connection, _LOCK, {"gate": _GATE})
                found = self._execute(connection, _HAS_SCHEMA).fetchone()
                if found and not found[0]:
                    self._execute(connection, SCHEMA)
        except (errors.DuplicateSchema, errors.DuplicateTable, errors.UniqueViolation):
            pass  # a session that a pooler hands out again may not have heard yet of what another one has made
        except errors.InsufficientPrivilege:
            raise RegistryError(f"{self.where} has no tables, and its user may not make them.") from None

    def _reason(self, error: psycopg.Error) -> tuple[str, bool]:
        """What is wrong, in words that hold nothing of the connection string, and whether it may pass by itself."""
        if error.sqlstate is not None:
            # A standby that is not promoted yet may only read.
            passes = isinstance(error, (self._psycopg.OperationalError, self._psycopg.errors.ReadOnlySqlTransaction))
            return f"answers: {error.diag.message_primary} ({error.sqlstate})", passes
        if not isinstance(error, (self._psycopg.OperationalError, self._psycopg.InterfaceError)):
            return f"cannot keep this ({type(error).__name__})", False
        # While a connection is made, the server's code is not handed on.
        text = str(error)
        for mark, reason in _REFUSALS.items():
            if mark in text:
                return reason, False
        return next((said for mark, said in _TROUBLES.items() if mark in text), "cannot be reached"), True

    def _place(self) -> str:
        """The database in a message. Raises RegistryError for what is no connection string; it may be a password."""
        try:
            parts = self._psycopg.conninfo.conninfo_to_dict(self._url)
        except (self._psycopg.Error, ValueError):
            raise RegistryError("registry_url is no connection string of PostgreSQL.") from None
        server, port, name = (str(parts.get(part) or "") for part in ("host", "port", "dbname"))
        server = server or str(parts.get("hostaddr") or "localhost")
        # A password whose marks are not encoded becomes a part of these, and they are in each message.
        if not (_SERVER.fullmatch(server) and _PORT.fullmatch(port) and _DATABASE.fullmatch(name)):
            raise RegistryError(_UNENCODED) from None
        return f"{name or 'of the default name'} at {server}{f':{port}' if port else ''}"


_SERVER = re.compile(r"[\w.,:%/+~-]+")  # names, addresses, folders of sockets, and several of them
_PORT = re.compile(r"[0-9,]*")
_DATABASE = re.compile(r"[^@/:;=?&#\x00-\x1f]*")
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


class _Moved(Exception):
    """The database is another cluster than the one that the tables know."""

    def __init__(self, values: dict[str, t.Any]) -> None:
        super().__init__()
        self.values = values


class _NoTables(RegistryError):
    """Nobody has made the tables yet."""


# libpq's words, and what is said of them
_REFUSALS = {
    "authentication failed": "refuses user or password",
    "no password supplied": "asks for a password, and none is given",
    "no pg_hba.conf entry": "does not let this computer in",
    "certificate": "has a certificate that is not accepted",
    "does not exist": "does not know this database or user",
    "invalid sslmode": "cannot be asked: sslmode has a value that does not exist",
}
_TROUBLES = {
    "timeout expired": "does not answer",
    "too many clients": "has no free connection",
    "connection slots": "has no free connection",
    "starting up": "is starting",
    "shutting down": "is shutting down",
    "could not translate host name": "has an address that cannot be resolved",
}


def _lines(row: t.Mapping[str, t.Any]) -> t.Iterator[Line]:
    """What a row says of its purchase, as a ledger's events."""
    entry = read_entry(
        {
            **row["note"],
            "provision_procured_offer_id": row["offer"],
            "provision_resource_ids": row["resource_ids"],
            "provision_price_per_hour": row["price_per_hour"],
            "provision_project": row["project"],
        }
    )
    yield Line(HELD if row["held"] else MADE, row["host"], entry, begin=row["begin"])
    if row["end"] is not None:
        yield Line(ENDED, row["host"], entry, row["end"], row["begin"], str(row["reason"] or ""))


def _time(moment: datetime) -> str:
    """A moment of the database's, whose time zone may be any, in a message."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def schema() -> str:
    """The SQL that makes the tables, for a person who may do what the registry's user may not."""
    return SCHEMA


def import_psycopg() -> t.Any:
    """The library. It takes some 80 ms. Raises RegistryError."""
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError:
        raise RegistryError(MISSING_PSYCOPG) from None
    return psycopg


def preload() -> None:
    """Import the library if it is there. For plugins, which Ansible reads before it forks: else each worker does it."""
    with contextlib.suppress(RegistryError):  # who needs it says so
        import_psycopg()
