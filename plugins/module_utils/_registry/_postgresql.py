# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a purchase in a registry that several controllers share, in PostgreSQL.

The database makes a purchase unique: a host has at most one open claim, and an offer at most one that is not void. Each
step is one transaction, and none is open during an API call. The client makes the ids of claims, so that a step that
runs again recognizes its own work.

Claims and sums are made one at a time, behind a gate: a lock with its own statement, so that the next statement sees
what the lock's last holder has committed. That needs READ COMMITTED, whatever the database's default.

No moment that others rely on is dated by a controller's clock.
"""

from __future__ import annotations

import itertools
import json
import re
import time
import typing as t
import uuid
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property

from .._provision import claims
from .._provision.ceilings import Count
from .._provision.entry import EXPIRED, JOURNALED, read_entry
from .._provision.ledger import ENDED, GONE, HELD, MADE, Line, bills_of
from .._provision.search import Sum
from .._provision.spending import Bill, Ledger
from .._provision.storage import Storage, kept_after_end
from .._text import seconds_of, utc
from . import _statements as sql
from ._connection import GRANTS, ClusterChanged, Connector, Done, Step, TablesMissing, Unreachable
from ._protocol import RegistryError, Variables
from ._row import Row, note_of_claim

if t.TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Params
    from psycopg.types.json import Jsonb

    Connection = psycopg.Connection[t.Any]

HOLD = 60.0  # seconds that a claim is held; a run that buys renews it every third of that
PATIENCE = 10.0  # seconds for which an unreachable database is tried again before anything is bought
FACTS_PATIENCE = 60.0  # seconds, once something is bought
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # an escaped NUL in JSON, unless its backslash is escaped


class ClaimedByOther(RegistryError):
    """The host or the offer of a claim already has another claim, ``row``."""

    error_class = "conflict"

    def __init__(self, message: str, row: Row) -> None:
        super().__init__(message)
        self.row = row


class TakenOver(RegistryError):
    """This run no longer holds the claim, so it must send nothing more under it."""

    error_class = "conflict"


class AboveCeiling(RegistryError):
    """A claim exceeds, or may exceed, the ceiling of a ``project``, or of the account if that is None."""

    error_class = "price"

    def __init__(self, message: str, project: str | None) -> None:
        super().__init__(message)
        self.project = project


class Contested(RegistryError):
    """Machines were noted, but another claim has them, their offer or their host: a person must decide."""

    error_class = "conflict"


@dataclass(frozen=True)
class Purchase:
    """An offer that is bought for a host. ``claim``: a UUID made by the client; ``price_per_hour``: in USD.

    ``note``: host variables; those with a column of their own do not go into the column ``note``. ``begun``: since when
    it may be billed (seconds since the epoch), if that was before it is noted.
    """

    claim: str
    project: str
    host: str
    account: str
    offer: str
    price_per_hour: float | None = None
    note: Variables = field(default_factory=dict)
    begun: float | None = None


@dataclass(frozen=True)
class Ceilings:
    """The most that all claims that count, with the new one, may cost (USD per hour)."""

    max_total_price_per_hour: float | None = None
    max_account_price_per_hour: float | None = None


class Database(Connector):
    """The steps of a purchase, each a transaction. Each method raises RegistryError.

    ``holder`` describes this run (``host``, ``user``, ``job``), with its unique id ``run``. See `Connector`.
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
        super().__init__(url, patience=patience, keep=keep, read_only=read_only)
        self._holder = dict(holder)
        self.hold = hold
        self._facts_patience = facts_patience

    # Reading

    def open_claim(self, project: str, host: str) -> Row | None:
        """The open claim of a host; None also if there are no tables yet."""
        rows = self._read(sql.OPEN, {"project": project, "host": host})
        return next((row for row in rows if row.counts), None)

    def claim_by_id(self, claim: str) -> Row | None:
        """A claim, whatever its state; None if the database has lost it."""
        return next(iter(self._read(sql.BY_CLAIM, {"claim": claim})), None)

    def counted(self, project: str | None = None) -> list[Row]:
        """All claims of one or of all projects that may be billed, or may still buy."""
        return [row for row in self._read(sql.COUNTED, {"project": project}) if row.counts]

    def ledger(self, project: str, since: float = 0.0) -> Ledger:
        """The bills of a project's hosts since a moment (seconds since the epoch), ended or not."""

        def step(connection: Connection) -> Ledger:
            bills = self._bills(connection, sql.LEDGER_OF_PROJECT, {"project": project, "since": since})
            return Ledger(tuple(bills), self._now(connection))

        return self._query(step, Ledger((), time.time()))

    def bills_of_offer(self, project: str, offer: str) -> list[Bill]:
        """The bills of a project's purchases of an offer."""
        values = {"project": project, "offer": offer}
        return self._query(lambda connection: self._bills(connection, sql.LEDGER_OF_OFFER, values), [])

    def evidence(self, project: str, since: float) -> list[dict[str, t.Any]]:
        """Evidence against a project's machines, except those that ended before ``since`` (seconds since the epoch)."""
        values = {"project": project, "since": since}
        return self._query(lambda connection: self._column(connection, sql.EVIDENCE, values), [])

    def now(self) -> float:
        """The database's time, in seconds since the epoch. Raises RegistryError."""
        return self._run(self._now, self._patience)

    def void_claims(self, offers: t.Collection[str]) -> list[Row]:
        """Void claims of these offers under which a purchase was sent, newest first; none if another has the offer."""
        return self._read(sql.SENT_AND_VOID, {"offers": list(offers)}) if offers else []

    def taken_offers(self, offers: t.Collection[str]) -> set[str]:
        """The offers among these that cannot be claimed, since another claim has or had them."""
        rows = self._read(sql.OF_OFFERS, {"offers": list(offers)}) if offers else []
        return {row.offer for row in rows if row.counts or row.state == claims.ENDED}

    # Buying

    @cached_property
    def why_no_claim(self) -> str:
        """Why a run would make no claim here now; empty if it would. Takes no lock.

        Empty unless the registry is only read: a run that buys notes a failover with its claim.
        """
        try:
            if self.read_only:
                self._query(self._check_meta, None)
        except RegistryError as error:
            return str(error)
        return ""

    def claim(self, wanted: Purchase, ceilings: Ceilings) -> Row:
        """Claim the host's name and the offer, then mark the claim as sent.

        These are two transactions. If the run dies after the first one, it has certainly sent nothing, and its claim
        blocks others only while its hold lasts. Raises ClaimedByOther, TakenOver, AboveCeiling.
        """

        def step(connection: Connection) -> Row:
            with self._transaction(connection):
                self._pass_gate(connection)
                self._insert(connection, wanted)
                self._check_ceilings(connection, wanted, ceilings)
                row = self._row(connection, wanted.claim)
            return self._mark_sent(connection, row)

        return self._buy(step)

    def claim_again(self, row: Row, price_per_hour: float | None, note: Variables, ceilings: Ceilings) -> Row:
        """Claim the same offer again, under the next epoch, and mark it as sent. Raises TakenOver, AboveCeiling."""

        def step(connection: Connection) -> Row:
            with self._transaction(connection):
                self._pass_gate(connection)
                taken = self._take(connection, row, price_per_hour, note)
                self._check_ceilings(connection, taken, ceilings)
            return self._mark_sent(connection, taken)

        return self._buy(step)

    def take_over(self, row: Row) -> Row:
        """Hold a claim whose hold has lapsed, to settle it. Raises TakenOver if another run did so first."""
        return self._transact(lambda connection: self._take(connection, row), self._patience)

    def renew(self, row: Row, seconds: float) -> None:
        """Hold the claim for so many seconds from now. Tried once: a purchase is safe without the hold."""
        values = {"claim": row.claim, "epoch": row.epoch, "seconds": seconds}
        self._transact(lambda connection: self._execute(connection, sql.RENEW, values), 0.0)

    # Facts: accepted whatever the claim's state and epoch

    def note(self, fact: Purchase, resource_ids: t.Sequence[str], disowned: t.Collection[str] = ()) -> Row:
        """Note that the purchase was made, and its machines. ``disowned``: see `Registry`.

        Raises Contested, after noting them, if another claim has them, their offer or their host.
        """
        ids = list(dict.fromkeys(resource_ids))

        def step(connection: Connection) -> tuple[Row, str]:
            self._execute(connection, sql.LOCK, {"gate": sql.GATE})
            self._execute(connection, sql.FREE_LAPSED)
            # No other step needs the right to delete. Without it, a person must decide whose the machine is.
            if disowned and self._execute(connection, sql.MAY_DISOWN).fetchone() == (True,):
                self._execute(connection, sql.DISOWN, {"claim": fact.claim, "ids": list(disowned)})
            return self._note(connection, fact, ids)

        row, trouble = self._transact(step, self._facts_patience)
        if trouble:
            raise Contested(trouble)
        return row

    def add_to_note(self, row: Row, changes: Variables) -> Row:
        """Add variables to the claim's note. The moment at which its offer was first seen as expired stays.

        Raises TakenOver: the answer to this run's purchase must not be noted for one that another run has sent since.
        """
        values = {**self._values(note=changes), "expired": changes.get(EXPIRED) is not None}
        return self._update_alone(row, sql.ADD_TO_NOTE, values)

    def compare_and_set(self, row: Row, changes: Variables) -> Row:
        """Add variables to the claim's note if the note is still as it was read. Raises TakenOver if it is not.

        After a lost connection, a note that already has the changes counts as this run's own work.
        """
        values, tries = {**self._values(note=changes), "known": _json(row.note)}, itertools.count()

        def step(connection: Connection) -> Row:
            return self._update(connection, row, sql.COMPARE_AND_SET, {**values, "again": next(tries) > 0})

        return self._transact(step, self._facts_patience)

    # Leases

    def last_sweep(self, project: str) -> float | None:
        """When a sweep last enforced the project's leases (seconds since the epoch), None if none was noted."""
        values = {"project": project}
        return next(iter(self._query(lambda connection: self._column(connection, sql.LAST_SWEEP, values), [])), None)

    def note_sweep(self, project: str) -> None:
        """Note that a sweep has enforced the project's leases now."""
        values = {"project": project}
        self._transact(lambda connection: self._execute(connection, sql.NOTE_SWEEP, values), self._patience)

    # Ends

    def void(self, row: Row, reason: str, note: Variables) -> Row:
        """Free a claim under which nothing was bought. Raises TakenOver if another run has it by now."""
        return self._update_alone(row, sql.VOID, {**self._values(note=note), "reason": reason})

    def end(
        self, row: Row, ids: t.Collection[str], why: str = GONE, price_per_hour: float | None = None
    ) -> Bill | None:
        """Note that these machines are gone, and why, and the price if it is higher. Ends only what was bought.

        Storage is kept. Returns their cost. Raises TakenOver if another run has noted further machines.
        """

        def step(connection: Connection) -> Bill | None:
            values = {**self._values(price_per_hour=price_per_hour), "claim": row.claim, "ids": list(ids), "why": why}
            self._execute(connection, sql.LOCK_CLAIM, values)
            before = self._row(connection, row.claim)
            moments = self._column(connection, sql.END, values)
            if not moments:
                raise self._taken_over(row)
            for moment in moments:
                self._execute(connection, sql.GONE, values)
                for item in kept_after_end({**before.variables(), "provision_project": before.project}, utc(moment)):
                    fact = _purchase_of(item, before.project, before.host, before.account)
                    self._note_storage(connection, replace(fact, begun=moment))
            return self._bill(connection, row.claim)

        return self._transact(step, self._facts_patience)

    def end_stray(self, offer: str, ids: t.Collection[str], why: str = GONE) -> Bill | None:
        """Note the end of a host's stray machine or kept storage, and return its bill.

        None if no stray claim has the offer, or if it has resources that are not in ``ids``.
        """
        tries = itertools.count()

        def step(connection: Connection) -> Bill | None:
            values = {"offer": offer, "ids": list(ids), "why": why, "again": next(tries) > 0}
            for claim in self._column(connection, sql.END_STRAY, values):  # an offer has one claim that is not void
                self._execute(connection, sql.GONE, {"claim": claim})
                return self._bill(connection, claim)
            return None

        return self._transact(step, self._facts_patience)

    def keep_storage(self, project: str, host: str, account: str, storage: Storage) -> None:
        """Note storage that a host has kept in another registry, unless it is noted already."""
        fact = _purchase_of(storage, project, host, account)
        self._transact(lambda connection: self._note_storage(connection, fact), self._patience)

    def note_begin(self, host: str, offer: str, begun: float | None) -> None:
        """Note when another registry sent a host's purchase (seconds since the epoch, None if unknown)."""
        values = {"host": host, "offer": offer, "begun": begun}
        self._transact(lambda connection: self._execute(connection, sql.NOTE_BEGIN, values), self._patience)

    def note_ended(self, account: str, bills: t.Sequence[Bill]) -> int:
        """Note purchases of another registry that have ended, or have lost their entry; return how many are new.

        Each bill has a ``begin``.
        """
        return self._transact(
            lambda connection: sum(self._note_ended(connection, account, bill) for bill in bills), self._patience
        )

    # Parts of the steps

    def _note_ended(self, connection: Connection, account: str, bill: Bill) -> bool:
        claim, note = str(uuid.uuid4()), {"provision_groups": list(bill.groups)}
        price, begun = bill.price_per_hour, bill.begin
        fact = Purchase(claim, bill.project, bill.host, account, bill.offer_id, price, note, begun)
        values = {**self._values(fact), "end": bill.end, "why": bill.why}
        if not self._execute(connection, sql.NOTE_ENDED, values).rowcount:
            return False
        self._execute(connection, sql.MACHINES, {"claim": claim, "ids": list(bill.resource_ids)})
        if not bill.runs:
            self._execute(connection, sql.GONE, {"claim": claim})
        return True

    def _note_storage(self, connection: Connection, fact: Purchase) -> None:
        """Note storage, unless it is noted already, or was told gone after it was ``begun``."""
        values = {**self._values(fact), "state": claims.STRAY, "reason": "storage"}
        if any(self._execute(connection, query, values).rowcount for query in sql.KEEP_STORAGE):
            self._execute(connection, sql.OWN_STORAGE, values)

    def _update(self, connection: Connection, row: Row, query: str, values: dict[str, t.Any]) -> Row:
        """Change a claim by a statement that only its newest epoch may run, and return it. Raises TakenOver."""
        if not self._execute(connection, query, {**values, "claim": row.claim, "epoch": row.epoch}).rowcount:
            raise self._taken_over(row)
        return self._row(connection, row.claim)

    def _update_alone(self, row: Row, query: str, values: dict[str, t.Any]) -> Row:
        """`_update` in its own transaction."""
        return self._transact(lambda connection: self._update(connection, row, query, values), self._facts_patience)

    def _buy(self, step: Step[Row]) -> Row:
        """Run a step that claims a purchase. Later steps are more patient, since the purchase may be billed."""
        row = self._run(step, self._patience)
        self._patience = self._facts_patience
        return row

    def _pass_gate(self, connection: Connection) -> None:
        """Wait at the gate, check that claims may be made and marked here now, and free lapsed claims.

        Raises RegistryError.
        """
        self._execute(connection, sql.LOCK, {"gate": sql.GATE})
        self._check_meta(connection)
        self._execute(connection, sql.FREE_LAPSED)

    def _check_meta(self, connection: Connection) -> None:
        """Raise RegistryError if no claim may be made now."""
        cluster = self._execute(connection, sql.CLUSTER).fetchone()
        values = {"cluster": cluster and cluster[0]}
        found = self._execute(connection, sql.META, values).fetchone()
        if found is None:
            raise RegistryError(f"{self.where} has lost the row of its table meta.")
        version, has_changed, quarantined_until, may_note = found
        if version > sql.VERSION:
            raise RegistryError(
                f"{self.where} was made by a newer version of the collection (schema {version}, here {sql.VERSION}):"
                " update the collection to buy with it."
            )
        if not (may_note or self.read_only):  # another user may quote
            raise RegistryError(f"{self.where} does not let its user note machines, so none may be bought: {GRANTS}.")
        if has_changed and not self.read_only:
            raise ClusterChanged(values)
        if quarantined_until is not None:
            raise Unreachable(
                f"{self.where} has failed over, and may have lost claims: nothing new is bought until"
                f" {utc(quarantined_until.timestamp())}, when no lost purchase can be under way any more."
            )

    def _insert(self, connection: Connection, wanted: Purchase) -> None:
        """Make the claim, or find it if the answer to its COMMIT was lost. Raises ClaimedByOther, TakenOver."""
        values = {**self._values(wanted), "hold": self.hold}
        if self._execute(connection, sql.CLAIM, values).rowcount:
            return
        for row in self._rows(connection, sql.BY_CLAIM, values):
            if (row.state, row.epoch, row.holder) != (claims.BUYING, sql.FIRST_EPOCH, self._holder):
                raise self._taken_over(row)
            return
        for query in (sql.OPEN, sql.OF_OFFER):
            for row in self._rows(connection, query, values):
                verb = "is buying" if row.state == claims.BUYING else "has bought"
                what = f"host {row.host} of project {row.project} {verb} offer {row.offer}"
                raise ClaimedByOther(f"{self.where} says that {what}, since {utc(row.claimed_at.timestamp())}.", row)
        raise RegistryError(f"{self.where} has not accepted the claim of offer {wanted.offer}.")

    def _check_ceilings(self, connection: Connection, wanted: Purchase | Row, ceilings: Ceilings) -> None:
        """Compare the sums, including this claim, with the ceilings. Raises AboveCeiling.

        If a sum exceeds its ceiling, the claims are read and decide, since one of them may just have ended. A refusal
        lists exactly these.
        """
        values = {"project": wanted.project, "account": wanted.account}
        for scope, project, whose, ceiling in (
            (sql.OF_PROJECT, wanted.project, f"project {wanted.project}", ceilings.max_total_price_per_hour),
            (sql.OF_ACCOUNT, None, f"account {wanted.account}", ceilings.max_account_price_per_hour),
        ):
            if ceiling is None or not self._sum(connection, scope, values).exceeds(ceiling):
                continue
            rows = self._rows(connection, sql.ROW + scope + sql.IN_ORDER, values)
            count = Count(tuple(row.ceiling_part(wanted.claim, wanted.project) for row in rows))
            subject = f"With offer {wanted.offer} all machines of {whose}"
            if above := count.refusal_above(subject, "the ceiling", ceiling):
                raise AboveCeiling(f"{above} {self.where} counts what is live and what is being bought.", project)

    def _sum(self, connection: Connection, scope: str, values: Params) -> Sum:
        """The sum of prices. The database adds decimals, so it is exact."""
        total, unknown = t.cast("tuple[Decimal, int]", self._execute(connection, sql.SUM + scope, values).fetchone())
        return Sum(float(total), unknown)

    def _take(
        self, connection: Connection, row: Row, price_per_hour: float | None = None, note: Variables | None = None
    ) -> Row:
        """Take the claim under the next epoch, and return it. Without a ``note`` it keeps its own."""
        values = {**self._values(note=note, price_per_hour=price_per_hour), "hold": self.hold}
        return self._update(connection, row, sql.TAKE_OVER, values)

    def _mark_sent(self, connection: Connection, row: Row) -> Row:
        """Mark the claim as sent: from now on only an answer frees it. Raises TakenOver; then nothing may be sent."""
        with self._transaction(connection):
            self._pass_gate(connection)
            return self._update(connection, row, sql.MARK, {**self._values(), "hold": self.hold})

    def _note(self, connection: Connection, fact: Purchase, ids: list[str]) -> tuple[Row, str]:
        """Note the machines of a purchase; return the claim that has them, and what contests it, else an empty text."""
        adopted = read_entry(fact.note).adopted
        fact = self._with_own_claim(connection, fact, adopted=adopted)
        values = {**self._values(fact), "ids": ids}
        mine = next(iter(self._rows(connection, sql.BY_CLAIM, values)), None)
        others, rivals = (self._other_claims(connection, query, values) for query in (sql.OPEN, sql.OF_OFFER))
        rival = next(iter(rivals.values()), None)  # an offer has one claim that is not void
        owners = dict(self._execute(connection, sql.OWNERS, values).fetchall())
        state = claims.state_once_made(
            mine.state if mine else None,
            adds=not owners.keys() >= set(ids),
            # A rival claim of the same host gives up the name together with the offer.
            name_is_free=others.keys() <= rivals.keys(),
            rival=rival.state if rival else None,
            adopted=adopted,
        )
        troubles = [f"{item} is noted for claim {owner}" for item, owner in owners.items() if owner != fact.claim]
        if rival and state is None:
            values["claim"] = rival.claim
            troubles += _bought_by(rival)
        else:
            if rival:  # it cannot have bought this offer, which is sold only once
                self._execute(connection, sql.VOID_RIVALS, values)
            troubles += self._note_state(connection, state, values, is_known=mine is not None)
        self._execute(connection, sql.MACHINES, values)
        if adopted:
            self._execute(connection, sql.NOT_GONE, {**values, "claim": fact.claim})
        return self._row(connection, values["claim"]), self._contested(fact, ids, troubles)

    def _other_claims(self, connection: Connection, query: str, values: dict[str, t.Any]) -> dict[str, Row]:
        """The claims that a query finds, except the one of these values, by their ids."""
        return {row.claim: row for row in self._rows(connection, query, values) if row.claim != values["claim"]}

    def _note_state(
        self, connection: Connection, state: str | None, values: dict[str, t.Any], *, is_known: bool
    ) -> list[str]:
        """Note the claim in its new state, and return the troubles that follow."""
        noted = {**values, "state": state, "reason": "noted without a claim"}
        self._execute(connection, sql.NOTE if is_known else sql.NOTE_LOST, noted)
        return ["the host has another purchase"] if state == claims.STRAY else []

    def _contested(self, fact: Purchase, ids: list[str], troubles: list[str]) -> str:
        """A sentence about the troubles of a noted purchase; empty if it has none."""
        named = f"Offer {fact.offer} of host {fact.host} ({', '.join(ids) or 'no machine known yet'}) is contested"
        return f"{named}: {'; '.join(troubles)}. {self.where} has noted it." if troubles else ""

    def _with_own_claim(self, connection: Connection, fact: Purchase, *, adopted: bool) -> Purchase:
        """The fact with the id of the host's own claim of the offer, if any: another clone may have moved it here.

        An ended claim is used only for machines that a person adopts. Its old note, such as the end of its lease, no
        longer holds then.
        """
        own = (fact.project, fact.host, fact.account)
        for row in self._rows(connection, sql.OF_OFFER, {"offer": fact.offer}):
            if (row.project, row.host, row.account) != own:
                continue
            if row.state != claims.ENDED:
                return replace(fact, claim=row.claim)
            if adopted:
                return replace(fact, claim=row.claim, note={**dict.fromkeys(row.note), **fact.note})
        return fact

    def _values(
        self,
        purchase: Purchase | None = None,
        *,
        note: Variables | None = None,
        price_per_hour: float | None = None,
    ) -> dict[str, t.Any]:
        """The values of a statement, in the database's types. ``gone``: the names that are None in the note."""
        if purchase is not None:
            price_per_hour, note = purchase.price_per_hour, purchase.note
        return {
            **(vars(purchase) if purchase else {}),
            "price_per_hour": None if price_per_hour is None else Decimal(str(price_per_hour)),
            "note": None if note is None else _json(note_of_claim(note)),
            "gone": [name for name, value in (note or {}).items() if value is None],
            "holder": _json(self._holder),
        }

    def _taken_over(self, row: Row) -> TakenOver:
        return TakenOver(f"{self.where} says that this run no longer holds the purchase of offer {row.offer}.")

    # Queries and transactions

    def _now(self, connection: Connection) -> float:
        return float(self._column(connection, sql.NOW)[0])

    def _column(self, connection: Connection, query: str, values: Params | None = None) -> list[t.Any]:
        """The values of a query with one column."""
        return [row[0] for row in self._execute(connection, query, values)]

    def _rows(self, connection: Connection, query: str, values: Params) -> list[Row]:
        from psycopg.rows import class_row

        with connection.cursor(row_factory=class_row(Row)) as cursor:
            return cursor.execute(query.encode(), values).fetchall()

    def _bills(self, connection: Connection, query: str, values: Params) -> list[Bill]:
        from psycopg.rows import dict_row

        with connection.cursor(row_factory=dict_row) as cursor:
            return bills_of(line for row in cursor.execute(query.encode(), values) for line in _lines(row))

    def _bill(self, connection: Connection, claim: str) -> Bill | None:
        return next(iter(self._bills(connection, sql.LEDGER_OF_CLAIM, {"claim": claim})), None)

    def _row(self, connection: Connection, claim: str) -> Row:
        for row in self._rows(connection, sql.BY_CLAIM, {"claim": claim}):
            return row
        raise RegistryError(f"{self.where} has lost claim {claim}.")

    def _transact(self, part: Step[Done], patience: float, *, read_only: bool = False) -> Done:
        """Run a step as one transaction, as `_run` does, and return its result."""

        def step(connection: Connection) -> Done:
            with self._transaction(connection, read_only=read_only):
                return part(connection)

        return self._run(step, patience, makes_tables=not read_only)

    def _read(self, query: str, values: Params) -> list[Row]:
        return self._query(lambda connection: self._rows(connection, query, values), [])

    def _query(self, part: Step[Done], nothing: Done) -> Done:
        """Run a step that only reads, and return its result, or ``nothing`` if there are no tables yet."""
        try:
            return self._transact(part, self._patience, read_only=True)
        except TablesMissing:
            return nothing


def _json(value: dict[str, t.Any]) -> Jsonb:
    """A JSON value for the database, whatever its encoding; see `_dumped`."""
    from psycopg.types.json import Jsonb

    return Jsonb(value, dumps=_dumped)


def _dumped(value: t.Any) -> bytes:
    """JSON without escapes of letters, which a database in SQL_ASCII does not accept.

    Characters that no database accepts (NUL, half a surrogate pair) become question marks: no text of the API or of a
    machine may keep a purchase from being noted.
    """
    return _NUL.sub(r"\1?", json.dumps(value, ensure_ascii=False)).encode(errors="replace")


def _bought_by(rival: Row) -> t.Iterator[str]:
    """Why a purchase of the offer is contested that the ``rival`` claim has bought."""
    yield f"host {rival.host} of project {rival.project} has also bought the offer"
    if rival.state == claims.ENDED:
        yield "it counts as ended: if it still runs, let that host adopt it (provision_adopt), or end it by its id"


def _purchase_of(storage: Storage, project: str, host: str, account: str) -> Purchase:
    """A purchase that stands for kept storage. Its claim id is always the same, so a retry finds its own work.

    It counts in the project for which it was bought, else in ``project``, its host's.
    """
    claim = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{account} {storage.resource_id}"))
    price, note, begun = storage.price_per_hour, storage.entry(host), seconds_of(storage.kept_since)
    return Purchase(claim, storage.project or project, host, account, storage.resource_id, price, note, begun)


def _lines(row: t.Mapping[str, t.Any]) -> t.Iterator[Line]:
    """The lines of a ledger for a row: one for its purchase, and one for its end, if it has ended."""
    entry = read_entry(
        {
            **row["note"],
            JOURNALED: str(row["begin"]),
            "provision_procured_offer_id": row["offer"],
            "provision_resource_ids": row["resource_ids"],
            "provision_price_per_hour": row["price_per_hour"],
            "provision_project": row["project"],
        }
    )
    yield Line(HELD if row["held"] else MADE, row["host"], entry, begin=row["begin"])
    if row["end"] is not None:
        yield Line(ENDED, row["host"], entry, row["end"], row["begin"], str(row["reason"] or ""))
