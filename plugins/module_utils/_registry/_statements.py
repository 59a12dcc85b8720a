# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All SQL of the collection: the tables of a shared registry, and the statements that use them."""

from __future__ import annotations

from .._provision.acceptance import EVIDENCE as _EVIDENCE
from .._provision.entry import MISSING_AT
from .._provision.storage import STORAGE_IDS, STORAGE_OF

VERSION = 1  # of the schema; migrations only add
GATE = int.from_bytes(b"supply", "big")  # of the lock; others are unlikely to use this number
FIRST_EPOCH = 1  # of a new claim; the default of the table's column

# Names in %()s are values, which are never inserted into the text of a statement.

SCHEMA = """\
CREATE SCHEMA IF NOT EXISTS compute_index_supply;
CREATE TABLE compute_index_supply.purchase (
    claim uuid PRIMARY KEY,
    project text NOT NULL,
    host text NOT NULL,
    account text NOT NULL,
    offer text NOT NULL,
    state text NOT NULL CHECK (state IN ('buying', 'live', 'stray', 'void', 'ended')),
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
    WHERE state IN ('buying', 'live');
CREATE UNIQUE INDEX purchase_offer ON compute_index_supply.purchase (offer) WHERE state <> 'void';
CREATE INDEX purchase_freed ON compute_index_supply.purchase (offer)
    WHERE state IN ('void', 'ended') AND sent_at IS NOT NULL;
CREATE INDEX purchase_project_sum ON compute_index_supply.purchase (project, host) INCLUDE (price_per_hour)
    WHERE state IN ('buying', 'live', 'stray');
CREATE INDEX purchase_ended ON compute_index_supply.purchase (project, ended_at) WHERE state = 'ended';
CREATE INDEX purchase_account_sum ON compute_index_supply.purchase (account) INCLUDE (price_per_hour)
    WHERE state IN ('buying', 'live', 'stray');
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
# The cluster: another system, or another timeline of this one, may have lost committed claims.
CLUSTER = """
SELECT system_identifier::text || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system()
"""
LIMITS = """
SELECT set_config('synchronous_commit', 'on', true), set_config('statement_timeout', %(ms)s, true),
    set_config('lock_timeout', %(ms)s, true), set_config('idle_in_transaction_session_timeout', %(ms)s, true),
    set_config('datestyle', 'ISO', true)
"""
LOCK = "SELECT pg_advisory_xact_lock(%(gate)s)"
HAS_SCHEMA = "SELECT to_regclass('compute_index_supply.meta') IS NOT NULL"
META = """
SELECT version, cluster IS DISTINCT FROM %(cluster)s,
    CASE WHEN cluster <> %(cluster)s THEN clock_timestamp() + longest_post
        WHEN quarantine_until > clock_timestamp() THEN quarantine_until END,
    has_table_privilege('compute_index_supply.machine', 'INSERT')
        AND has_table_privilege('compute_index_supply.machine', 'UPDATE')
FROM compute_index_supply.meta
"""
# Notes the cluster. After a change, lost purchases may be under way for as long as the longest POST takes.
NOTE_CLUSTER = """
UPDATE compute_index_supply.meta SET cluster = %(cluster)s,
    quarantine_until = CASE WHEN cluster IS NULL THEN NULL ELSE clock_timestamp() + longest_post END
"""
# After a change of the cluster: marks may be lost, so each open claim may have been sent, and it may have been sent
# again since its offer was seen as expired.
ASSUME_SENT = """
UPDATE compute_index_supply.purchase SET expired_seen = NULL, sent_at = coalesce(sent_at, clock_timestamp())
WHERE state = 'buying'
"""
# A hold lasts a minute. If it ends much later, it was noted before the database's clock was set back, and has lapsed
# unless its run renews it.
_HELD = "held_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '10 minutes'"
ROW = f"""
SELECT p.claim::text, p.project, p.host, p.account, p.offer, p.state, p.price_per_hour, p.epoch, p.holder,
    {_HELD} AS held, p.sent_at, p.expired_seen, p.claimed_at, p.note,
    ARRAY(SELECT m.resource FROM compute_index_supply.machine m WHERE m.claim = p.claim AND m.gone_at IS NULL
        ORDER BY m.place) AS resource_ids,
    clock_timestamp() AS seen_at,
    (SELECT extract(epoch FROM s.longest_post)::float8 FROM compute_index_supply.meta s) AS longest_post
FROM compute_index_supply.purchase p
"""
BY_CLAIM = ROW + "WHERE p.claim = %(claim)s"
OPEN = ROW + "WHERE p.project = %(project)s AND p.host = %(host)s AND p.state IN ('buying', 'live')"
OF_OFFER = ROW + "WHERE p.offer = %(offer)s AND p.state <> 'void'"
OF_OFFERS = ROW + "WHERE p.offer = ANY(%(offers)s) AND p.state <> 'void'"
COUNTED = (
    ROW
    + """
WHERE p.state IN ('buying', 'live', 'stray') AND (%(project)s::text IS NULL OR p.project = %(project)s)
ORDER BY p.project, p.host, p.claimed_at
"""
)
# If another claim has or had the offer, a void one cannot have bought it; a list may still have that one's machine.
SENT_AND_VOID = (
    ROW
    + """
WHERE p.offer = ANY(%(offers)s) AND p.state = 'void' AND p.sent_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM compute_index_supply.purchase o WHERE o.offer = p.offer AND o.state <> 'void')
ORDER BY p.claimed_at DESC
"""
)
# A claim that was never marked was never sent, and a void claim has bought nothing.
LEDGER = """
SELECT p.project, p.host, p.offer, p.note, p.reason,
    greatest(p.quoted_price_per_hour, p.charged_price_per_hour)::float8 AS price_per_hour,
    extract(epoch FROM p.claimed_at)::float8 AS begin,
    CASE WHEN p.state = 'ended' AND isfinite(p.ended_at) THEN extract(epoch FROM p.ended_at)::float8 END AS end,
    p.state <> 'ended' AS held,
    ARRAY(SELECT m.resource FROM compute_index_supply.machine m WHERE m.claim = p.claim
        ORDER BY m.place) AS resource_ids
FROM compute_index_supply.purchase p
"""
LEDGER_OF_CLAIM = LEDGER + "WHERE p.claim = %(claim)s"
LEDGER_OF_OFFER = LEDGER + "WHERE p.project = %(project)s AND p.offer = %(offer)s AND p.state <> 'void'"
LEDGER_OF_PROJECT = (
    LEDGER
    + """
WHERE p.project = %(project)s AND (
    (p.state IN ('buying', 'live', 'stray') AND (p.state <> 'buying' OR p.sent_at IS NOT NULL))
    OR (p.state = 'ended' AND p.ended_at > to_timestamp(%(since)s)))
ORDER BY p.claimed_at
"""
)
NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
CLAIM = """
INSERT INTO compute_index_supply.purchase
    (claim, project, host, account, offer, state, quoted_price_per_hour, holder, held_until, note)
VALUES (%(claim)s, %(project)s, %(host)s, %(account)s, %(offer)s, 'buying', %(price_per_hour)s, %(holder)s,
    clock_timestamp() + %(hold)s * interval '1 second', %(note)s)
ON CONFLICT DO NOTHING
"""
# `claims.counts` in SQL. Marks are made under the same gate: a run whose hold has lapsed without a mark has sent
# nothing, and cannot mark its claim after this. A failover may have lost a mark, so it must be noted first.
FREE_LAPSED = f"""
UPDATE compute_index_supply.purchase SET state = 'void', reason = 'never sent', epoch = epoch + 1
WHERE state = 'buying' AND sent_at IS NULL AND NOT {_HELD}
    AND EXISTS (SELECT FROM compute_index_supply.meta WHERE cluster = ({CLUSTER}))
"""
# Missing machines (`Entry.is_missing`) do not count in hourly ceilings, but in the ledger they go on.
SUM = f"""
SELECT coalesce(sum(p.price_per_hour), 0), count(*) FILTER (WHERE p.price_per_hour IS NULL)
FROM (SELECT * FROM compute_index_supply.purchase b
    WHERE state = 'buying' OR coalesce(note->>'{MISSING_AT}', '') = '' OR NOT EXISTS (
        SELECT FROM compute_index_supply.machine m WHERE m.claim = b.claim AND m.gone_at IS NULL)) p
"""
OF_PROJECT = "WHERE p.project = %(project)s AND p.state IN ('buying', 'live', 'stray')"
OF_ACCOUNT = "WHERE p.account = %(account)s AND p.state IN ('buying', 'live', 'stray')"
IN_ORDER = " ORDER BY p.project, p.host, p.claimed_at"
MARK = f"""
UPDATE compute_index_supply.purchase SET sent_at = clock_timestamp(),
    held_until = clock_timestamp() + %(hold)s * interval '1 second'
WHERE claim = %(claim)s AND epoch = %(epoch)s AND holder = %(holder)s AND state = 'buying'
    AND {_HELD}
"""
RENEW = """
UPDATE compute_index_supply.purchase SET held_until = clock_timestamp() + %(seconds)s * interval '1 second'
WHERE claim = %(claim)s AND epoch = %(epoch)s AND state = 'buying'
"""
# Only a sent claim needs settling. The last condition finds this run's own work if the answer to COMMIT was lost.
TAKE_OVER = f"""
UPDATE compute_index_supply.purchase SET epoch = %(epoch)s + 1, holder = %(holder)s,
    held_until = clock_timestamp() + %(hold)s * interval '1 second',
    quoted_price_per_hour = greatest(quoted_price_per_hour, %(price_per_hour)s::numeric),
    note = coalesce(%(note)s, note)
WHERE claim = %(claim)s AND state = 'buying' AND sent_at IS NOT NULL AND (
    (epoch = %(epoch)s AND (NOT {_HELD} OR holder = %(holder)s))
    OR (epoch = %(epoch)s + 1 AND holder = %(holder)s))
"""
ADD_TO_NOTE = """
UPDATE compute_index_supply.purchase SET note = (note || %(note)s) - %(gone)s::text[],
    expired_seen = CASE WHEN %(expired)s THEN coalesce(expired_seen, clock_timestamp()) ELSE expired_seen END
WHERE claim = %(claim)s AND epoch = %(epoch)s
"""
# Compares only the note. Run ``again`` after a lost connection, it finds its own work.
COMPARE_AND_SET = """
UPDATE compute_index_supply.purchase SET note = (note || %(note)s) - %(gone)s::text[]
WHERE claim = %(claim)s AND epoch = %(epoch)s AND state NOT IN ('void', 'ended')
    AND (note = %(known)s OR (%(again)s AND note = (%(known)s || %(note)s) - %(gone)s::text[]))
"""
# Against machines that run, or have ended since.
EVIDENCE = f"""
SELECT note->'{_EVIDENCE}' FROM compute_index_supply.purchase
WHERE project = %(project)s AND note ? '{_EVIDENCE}' AND (
    state IN ('buying', 'live', 'stray') OR (state = 'ended' AND ended_at > to_timestamp(%(since)s)))
"""
LAST_SWEEP = "SELECT extract(epoch FROM swept_at)::float8 FROM compute_index_supply.sweep WHERE project = %(project)s"
NOTE_SWEEP = """
INSERT INTO compute_index_supply.sweep (project, swept_at) VALUES (%(project)s, clock_timestamp())
ON CONFLICT (project) DO UPDATE SET swept_at = excluded.swept_at
"""
VOID = """
UPDATE compute_index_supply.purchase SET state = 'void', reason = %(reason)s, ended_at = clock_timestamp(),
    note = note || %(note)s
WHERE claim = %(claim)s AND epoch = %(epoch)s AND state IN ('buying', 'void')
"""
# An offer is sold only once, so other claims of it have bought nothing.
VOID_RIVALS = """
UPDATE compute_index_supply.purchase SET state = 'void', reason = 'sold to another claim', epoch = epoch + 1
WHERE offer = %(offer)s AND state = 'buying' AND claim <> %(claim)s
"""
NOTE_LOST = """
INSERT INTO compute_index_supply.purchase
    (claim, project, host, account, offer, state, reason, charged_price_per_hour, holder, held_until, sent_at,
        claimed_at, noted_at, note)
VALUES (%(claim)s, %(project)s, %(host)s, %(account)s, %(offer)s, %(state)s, %(reason)s,
    %(price_per_hour)s, %(holder)s, clock_timestamp(), clock_timestamp(),
    least(clock_timestamp(), to_timestamp(%(begun)s)), clock_timestamp(), %(note)s)
"""
# Storage that has outlived its machine is a purchase of its own. Its offer is its own id.
_KEEP_STORAGE = f"{NOTE_LOST}ON CONFLICT DO NOTHING"
# Storage that was told gone, but was left by a machine that ended later, may have been billed all the time.
_KEEP_STORAGE_AGAIN = f"""
UPDATE compute_index_supply.purchase SET state = 'stray', reason = %(reason)s, ended_at = NULL,
    noted_at = clock_timestamp(),
    charged_price_per_hour = greatest(charged_price_per_hour, %(price_per_hour)s::numeric)
WHERE offer = %(offer)s AND state = 'ended' AND note ? '{STORAGE_OF}' AND ended_at < to_timestamp(%(begun)s)
"""
KEEP_STORAGE = (_KEEP_STORAGE, _KEEP_STORAGE_AGAIN)
OWN_STORAGE = """
INSERT INTO compute_index_supply.machine (resource, claim, place)
SELECT offer, claim, 0 FROM compute_index_supply.purchase WHERE offer = %(offer)s AND state = 'stray'
ON CONFLICT (resource) DO UPDATE SET claim = excluded.claim, gone_at = NULL
"""
# A claim that was void or ended, but was bought or still runs after all, no longer has an end.
NOTE = """
UPDATE compute_index_supply.purchase SET state = %(state)s,
    ended_at = CASE WHEN %(state)s = 'ended' THEN ended_at END,
    charged_price_per_hour = coalesce(%(price_per_hour)s::numeric, charged_price_per_hour),
    expired_seen = NULL, noted_at = clock_timestamp(), note = (note || %(note)s) - %(gone)s::text[]
WHERE claim = %(claim)s
"""
# The claims that own these machines. Storage is left out: it may be attached to any machine.
OWNERS = f"""
SELECT m.resource, m.claim::text
FROM compute_index_supply.machine m JOIN compute_index_supply.purchase p ON p.claim = m.claim
WHERE NOT p.note ? '{STORAGE_OF}'
    AND (p.claim = %(claim)s OR NOT coalesce(p.note->'{STORAGE_IDS}' ? m.resource, false))
    AND m.resource = ANY(%(ids)s)
"""
MACHINES = """
INSERT INTO compute_index_supply.machine (resource, claim, place)
SELECT id, %(claim)s, place FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS noted (id, place)
ON CONFLICT DO NOTHING
"""
NOT_GONE = """
UPDATE compute_index_supply.machine SET gone_at = NULL WHERE claim = %(claim)s AND resource = ANY(%(ids)s)
"""
MAY_DISOWN = "SELECT has_table_privilege('compute_index_supply.machine', 'DELETE')"
DISOWN = """
DELETE FROM compute_index_supply.machine WHERE claim = %(claim)s AND resource = ANY(%(ids)s::text[])
"""
# Another run that notes machines of the claim has either committed before the next statement, or waits.
LOCK_CLAIM = "SELECT FROM compute_index_supply.purchase WHERE claim = %(claim)s FOR UPDATE"
# A machine that the run does not know of has not ended.
_KNOWN = """NOT EXISTS (SELECT FROM compute_index_supply.machine m
    WHERE m.claim = p.claim AND m.gone_at IS NULL AND m.resource <> ALL(%(ids)s))"""
END = f"""
UPDATE compute_index_supply.purchase p SET state = 'ended', ended_at = coalesce(ended_at, clock_timestamp()),
    reason = CASE WHEN state = 'ended' THEN reason ELSE %(why)s END,
    charged_price_per_hour = greatest(charged_price_per_hour, %(price_per_hour)s::numeric)
WHERE p.claim = %(claim)s AND p.state IN ('live', 'stray', 'ended') AND {_KNOWN}
RETURNING extract(epoch FROM least(ended_at, clock_timestamp()))::float8
"""
# Run ``again`` after a lost connection, it finds its own work.
END_STRAY = f"""
UPDATE compute_index_supply.purchase p SET state = 'ended', ended_at = coalesce(ended_at, clock_timestamp()),
    reason = %(why)s
WHERE p.offer = %(offer)s AND {_KNOWN}
    AND (p.state = 'stray' OR (%(again)s AND p.state = 'ended' AND p.reason = %(why)s))
RETURNING p.claim::text AS claim
"""
GONE = """
UPDATE compute_index_supply.machine SET gone_at = coalesce(gone_at, clock_timestamp()) WHERE claim = %(claim)s
"""

# A purchase that another registry has sent may have been billed since then.
NOTE_BEGIN = """
UPDATE compute_index_supply.purchase SET claimed_at = least(claimed_at, to_timestamp(%(begun)s::float8))
WHERE host = %(host)s AND offer = %(offer)s AND state <> 'void'
"""
# Purchases that another registry has sent. One that lost its entry there has no end, and counts as running.
NOTE_ENDED = """
INSERT INTO compute_index_supply.purchase
    (claim, project, host, account, offer, state, reason, charged_price_per_hour, holder, held_until, claimed_at,
        ended_at, note)
VALUES (%(claim)s, %(project)s, %(host)s, %(account)s, %(offer)s, 'ended', %(why)s, %(price_per_hour)s, %(holder)s,
    clock_timestamp(), to_timestamp(%(begun)s), coalesce(to_timestamp(%(end)s::float8), 'infinity'), %(note)s)
ON CONFLICT DO NOTHING
"""
