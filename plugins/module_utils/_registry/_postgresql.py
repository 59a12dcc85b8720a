# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a purchase in a registry that several controllers share, in PostgreSQL.

What makes a purchase single is the database: a host has one open claim, an offer one that is not void. Each step is one
transaction, and none is open while the API is asked. The client makes the ids of claims, so that a step that runs again
finds its own work.

Claims and sums are made one after the other, behind a gate: a lock that is taken by a statement of its own, so that the
next one sees what the holder before has committed. That needs READ COMMITTED, whatever the database's default.

No clock of the controller is read for anything that others rely on.
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

from .._provision import claims
from .._provision.ceilings import Count
from .._provision.entry import EXPIRED, JOURNALED, read_entry
from .._provision.ledger import ENDED, GONE, HELD, MADE, Line, bills_of
from .._provision.search import Sum
from .._provision.spending import Bill, Ledger
from .._provision.storage import Storage, kept_after_end
from .._text import seconds_of, utc
from . import _statements as sql
from ._connection import GRANTS, Connected, Done, Moved, NoTables, Step, Unreachable
from ._protocol import RegistryError, Variables
from ._row import Row, note_of_claim

if t.TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Params
    from psycopg.types.json import Jsonb

    Connection = psycopg.Connection[t.Any]

HOLD = 60.0  # seconds that a claim is held; who buys renews it three times as often
PATIENCE = 10.0  # seconds for which a database that is away is asked again before anything is bought
FACTS_PATIENCE = 60.0  # the same once something is bought
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # in JSON, and not a backslash before such letters


class ClaimedByOther(RegistryError):
    """The name or the offer of a claim belongs to another one, ``row``."""

    error_class = "conflict"

    def __init__(self, message: str, row: Row) -> None:
        super().__init__(message)
        self.row = row


class TakenOver(RegistryError):
    """This run holds the claim no more; nothing may be sent under it any more."""

    error_class = "conflict"


class AboveCeiling(RegistryError):
    """A claim that would exceed the ceiling of a ``project``, or of the account (None), or may exceed it."""

    error_class = "price"

    def __init__(self, message: str, project: str | None) -> None:
        super().__init__(message)
        self.project = project


class Contested(RegistryError):
    """Machines that were noted, but are not the host's alone: a person decides."""

    error_class = "conflict"


@dataclass(frozen=True)
class Purchase:
    """What is bought for whom. ``claim`` is a UUID made by the client; ``price_per_hour`` is in USD per hour.

    ``note``: its variables, of which those with a column of their own are not kept in the note. ``begun``: since when
    it may be billed, in seconds since the epoch, where that was before it was noted.
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
    """The most that all counted claims may cost, in USD per hour, with the new one."""

    max_total_price_per_hour: float | None = None
    max_account_price_per_hour: float | None = None


class Database(Connected):
    """The steps of a purchase, each a transaction. Each method raises RegistryError.

    ``holder`` says who this is (``host``, ``user``, ``job``), with a ``run`` that nobody else has. See `Connected`.
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
        """The open claim of a host; None also where nobody has made the tables yet."""
        rows = self._read(sql.OPEN, {"project": project, "host": host})
        return next((row for row in rows if row.counts), None)

    def claim_by_id(self, claim: str) -> Row | None:
        """A claim, whatever its state; None if the database has lost it."""
        return next(iter(self._read(sql.BY_CLAIM, {"claim": claim})), None)

    def counted(self, project: str | None = None) -> list[Row]:
        """All claims that may be billed, or may still buy, of one project or of all."""
        return [row for row in self._read(sql.COUNTED, {"project": project}) if row.counts]

    def ledger(self, project: str, since: float = 0.0) -> Ledger:
        """What was or may be billed since a moment (seconds since the epoch), of all hosts of a project."""

        def step(connection: Connection) -> Ledger:
            bills = self._bills(connection, sql.LEDGER_OF_PROJECT, {"project": project, "since": since})
            return Ledger(tuple(bills), self._now(connection))

        return self._look(step, Ledger((), time.time()))

    def evidence(self, project: str, since: float) -> list[dict[str, t.Any]]:
        """Evidence against the project's machines, without those that ended before (seconds since the epoch)."""
        values = {"project": project, "since": since}
        return self._look(lambda connection: self._column(connection, sql.EVIDENCE, values), [])

    def now(self) -> float:
        """The database's time, in seconds since the epoch. Raises RegistryError."""
        return self._run(self._now, self._patience)

    def freed(self, offers: t.Collection[str]) -> list[Row]:
        """Freed claims of these offers, under which a purchase was sent, where no other has its offer; newest first."""
        return self._read(sql.FREED, {"offers": list(offers)})

    def taken_offers(self, offers: t.Collection[str]) -> set[str]:
        """Those of these offers that no claim can have any more, since another one has or had them."""
        rows = self._read(sql.OF_OFFERS, {"offers": list(offers)}) if offers else []
        return {row.offer for row in rows if row.counts or row.state == claims.ENDED}

    # Buying

    def claim(self, wanted: Purchase, ceilings: Ceilings) -> Row:
        """Claim the host's name and the offer, then mark the claim as sent.

        Raises ClaimedByOther, TakenOver, AboveCeiling.

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

    def claim_again(self, row: Row, price_per_hour: float | None, note: Variables, ceilings: Ceilings) -> Row:
        """Claim the same offer once more, under the next epoch, and mark it as sent. Raises TakenOver, AboveCeiling."""

        def step(connection: Connection) -> Row:
            with self._transaction(connection):
                self._enter(connection)
                taken = self._take(connection, row, price_per_hour, note)
                self._check(connection, taken, ceilings)
            return self._marked(connection, taken)

        return self._bought_with(step)

    def take_over(self, row: Row) -> Row:
        """Hold a claim that nobody holds any more, to settle it. Raises TakenOver if another run was faster."""
        return self._at_once(lambda connection: self._take(connection, row), self._patience)

    def renew(self, row: Row, seconds: float) -> None:
        """Hold the claim for so many seconds from now on; tried once, since the hold is a courtesy."""
        values = {"claim": row.claim, "epoch": row.epoch, "seconds": seconds}
        self._at_once(lambda connection: self._execute(connection, sql.RENEW, values), 0.0)

    # Facts: these are accepted whatever the state and the epoch

    def note(self, fact: Purchase, resource_ids: t.Sequence[str], disowned: t.Collection[str] = ()) -> Row:
        """Note that the purchase was made, and its machines. ``disowned``: see `Registry`.

        Raises Contested if they are not the host's alone; they are on record then, too.
        """
        ids = list(dict.fromkeys(resource_ids))

        def step(connection: Connection) -> tuple[Row, str]:
            self._execute(connection, sql.LOCK, {"gate": sql.GATE})
            self._execute(connection, sql.FREE_LAPSED)
            # Nothing else takes the right to delete; without it a person must say whose the machine is.
            if disowned and self._execute(connection, sql.MAY_DISOWN).fetchone() == (True,):
                self._execute(connection, sql.DISOWN, {"claim": fact.claim, "ids": list(disowned)})
            return self._noted(connection, fact, ids)

        row, trouble = self._at_once(step, self._facts_patience)
        if trouble:
            raise Contested(trouble)
        return row

    def keep(self, row: Row, changes: Variables) -> Row:
        """Keep more variables with the claim. If its offer was seen as expired before, that moment stays.

        Raises TakenOver: that a purchase was answered must not be noted of the one that another run has sent since.
        """
        return self._change(row, sql.KEEP, {**self._values(note=changes), "expired": changes.get(EXPIRED) is not None})

    def compare_and_set(self, row: Row, changes: Variables) -> Row:
        """Keep variables with the claim if its note is still as it was read. Raises TakenOver if it is not.

        Where the connection is lost, the change may be made already; else who decides anew would make it twice.
        """
        values, tries = {**self._values(note=changes), "known": _json(row.note)}, itertools.count()

        def step(connection: Connection) -> Row:
            return self._changed(connection, row, sql.ALTER, {**values, "again": next(tries) > 0})

        return self._at_once(step, self._facts_patience)

    # Leases

    def last_sweep(self, project: str) -> float | None:
        """When the leases of the project were enforced last (seconds since the epoch), None if that was never noted."""
        values = {"project": project}
        return next(iter(self._look(lambda connection: self._column(connection, sql.SWEPT, values), [])), None)

    def note_sweep(self, project: str) -> None:
        """Note that they were enforced now."""
        self._at_once(lambda connection: self._execute(connection, sql.SWEEP, {"project": project}), self._patience)

    # Ends

    def void(self, row: Row, reason: str, note: Variables) -> Row:
        """Free the claim, of which nothing was bought. Raises TakenOver if it is not this run's to say."""
        return self._change(row, sql.VOID, {**self._values(note=note), "reason": reason})

    def end(
        self, row: Row, ids: t.Collection[str], why: str = GONE, price_per_hour: float | None = None
    ) -> Bill | None:
        """Note that these machines are gone, and why, and a higher price; only what was bought ends.

        Storage is kept. Returns what the machines have cost. Raises TakenOver if another run has noted more of them.
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

        return self._at_once(step, self._facts_patience)

    def end_stray(self, offer: str, ids: t.Collection[str], why: str = GONE) -> Bill | None:
        """Note that what a host has beside its own machine is gone, or the storage that it keeps, and what it has cost.

        None if there is no such claim, or if it has others than these ids.
        """
        tries = itertools.count()

        def step(connection: Connection) -> Bill | None:
            values = {"offer": offer, "ids": list(ids), "why": why, "again": next(tries) > 0}
            for claim in self._column(connection, sql.END_STRAY, values):  # an offer has one claim that is not void
                self._execute(connection, sql.GONE, {"claim": claim})
                return self._bill(connection, claim)
            return None

        return self._at_once(step, self._facts_patience)

    def keep_storage(self, project: str, host: str, account: str, storage: Storage) -> None:
        """Note storage that a host of another registry has kept, unless it is known."""
        fact = _purchase_of(storage, project, host, account)
        self._at_once(lambda connection: self._note_storage(connection, fact), self._patience)

    def note_begin(self, host: str, offer: str, begun: float | None) -> None:
        """Note when another registry has sent a host's purchase (seconds since the epoch, None if that is unknown)."""
        values = {"host": host, "offer": offer, "begun": begun}
        self._at_once(lambda connection: self._execute(connection, sql.BEGAN, values), self._patience)

    def note_ended(self, account: str, bills: t.Sequence[Bill]) -> int:
        """Note purchases of another registry that have ended, or have lost their entry; how many were not known.

        Each has a ``begin``.
        """
        return self._at_once(
            lambda connection: sum(self._note_ended(connection, account, bill) for bill in bills), self._patience
        )

    # Parts of the steps

    def _note_ended(self, connection: Connection, account: str, bill: Bill) -> bool:
        note = {"provision_groups": list(bill.groups)}
        claim = str(uuid.uuid4())
        fact = Purchase(
            claim, bill.project, bill.host, account, bill.offer_id, bill.price_per_hour, note, begun=bill.begin
        )
        values = {**self._values(fact), "end": bill.end, "why": bill.why}
        if not self._execute(connection, sql.NOTE_ENDED, values).rowcount:
            return False
        self._execute(connection, sql.MACHINES, {"claim": claim, "ids": list(bill.resource_ids)})
        if not bill.runs:
            self._execute(connection, sql.GONE, {"claim": claim})
        return True

    def _note_storage(self, connection: Connection, fact: Purchase) -> None:
        """Note storage, unless it is known, or was told gone after it ``begun``."""
        values = {**self._values(fact), "state": claims.STRAY, "reason": "storage"}
        if any(self._execute(connection, query, values).rowcount for query in sql.KEEP_STORAGE):
            self._execute(connection, sql.OWN_STORAGE, values)

    def _changed(self, connection: Connection, row: Row, query: str, values: dict[str, t.Any]) -> Row:
        """The claim after a statement that is the newest epoch's alone. Raises TakenOver."""
        if not self._execute(connection, query, {**values, "claim": row.claim, "epoch": row.epoch}).rowcount:
            raise self._taken_over(row)
        return self._row(connection, row.claim)

    def _change(self, row: Row, query: str, values: dict[str, t.Any]) -> Row:
        """`_changed` as a step of its own."""
        return self._at_once(lambda connection: self._changed(connection, row, query, values), self._facts_patience)

    def _bought_with(self, step: Step[Row]) -> Row:
        """The claim that the step makes; what follows it is about a purchase that may be billed, so it is patient."""
        row = self._run(step, self._patience)
        self._patience = self._facts_patience
        return row

    def _enter(self, connection: Connection) -> None:
        """Wait at the gate; then see whether this version, and this database, may claim or send. Raises RegistryError.

        What counts no more is freed, so that neither a sum nor a name nor an offer has it.
        """
        self._execute(connection, sql.LOCK, {"gate": sql.GATE})
        cluster = self._execute(connection, sql.CLUSTER).fetchone()
        values = {"cluster": cluster and cluster[0]}
        found = self._execute(connection, sql.META, values).fetchone()
        if found is None:
            raise RegistryError(f"{self.where} has lost the row of its table meta.")
        version, moved, quarantined_until, may_note = found
        if version > sql.VERSION:
            raise RegistryError(
                f"{self.where} was made by a newer version of the collection (schema {version}, here {sql.VERSION}):"
                " update the collection to buy with it."
            )
        if not may_note:
            raise RegistryError(f"{self.where} does not let its user note machines, so none may be bought: {GRANTS}.")
        if moved:
            raise Moved(values)
        if quarantined_until is not None:
            raise Unreachable(
                f"{self.where} has failed over, and may have lost claims: nothing new is bought until"
                f" {utc(quarantined_until.timestamp())}, when what was under way has ended."
            )
        self._execute(connection, sql.FREE_LAPSED)

    def _insert(self, connection: Connection, wanted: Purchase) -> None:
        """Make the claim, or find it, if its COMMIT was not answered.

        Raises ClaimedByOther, or TakenOver if it was taken since.
        """
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
        raise RegistryError(f"{self.where} has not taken the claim of offer {wanted.offer}.")

    def _check(self, connection: Connection, wanted: Purchase | Row, ceilings: Ceilings) -> None:
        """Compare the sums, with the own claim in them, with the ceilings. Raises AboveCeiling.

        If a sum exceeds one, the claims themselves decide, so that a refusal names what its sum has: one of them may
        just have ended.
        """
        values = {"project": wanted.project, "account": wanted.account}
        for scope, project, whose, ceiling in (
            (sql.OF_PROJECT, wanted.project, f"project {wanted.project}", ceilings.max_total_price_per_hour),
            (sql.OF_ACCOUNT, None, f"account {wanted.account}", ceilings.max_account_price_per_hour),
        ):
            if ceiling is None or not self._sum(connection, scope, values).exceeds(ceiling):
                continue
            rows = self._rows(connection, sql.ROW + scope + sql.IN_ORDER, values)
            count = Count(tuple(row.part(wanted.claim, wanted.project) for row in rows))
            subject = f"With offer {wanted.offer} all machines of {whose}"
            if above := count.refusal_above(subject, "the ceiling", ceiling):
                raise AboveCeiling(f"{above} {self.where} counts what is live and what is being bought.", project)

    def _sum(self, connection: Connection, scope: str, values: Params) -> Sum:
        """The sum of prices; the database adds decimals, so it is as exact as a ceiling."""
        total, unknown = t.cast("tuple[Decimal, int]", self._execute(connection, sql.SUM + scope, values).fetchone())
        return Sum(float(total), unknown)

    def _take(
        self,
        connection: Connection,
        row: Row,
        price_per_hour: float | None = None,
        note: Variables | None = None,
    ) -> Row:
        """The claim under the next epoch; without a note it keeps the one that it has."""
        values = {**self._values(note=note, price_per_hour=price_per_hour), "hold": self.hold}
        return self._changed(connection, row, sql.TAKE_OVER, values)

    def _marked(self, connection: Connection, row: Row) -> Row:
        """Mark the claim as sent: from then on only an answer frees it. Raises TakenOver, and then nothing was sent."""
        with self._transaction(connection):
            self._enter(connection)
            return self._changed(connection, row, sql.MARK, {**self._values(), "hold": self.hold})

    def _noted(self, connection: Connection, fact: Purchase, ids: list[str]) -> tuple[Row, str]:
        """The claim that has the machines now, and what is wrong with that; empty if nothing is."""
        adopted = read_entry(fact.note).adopted
        fact = self._under_own_claim(connection, fact, adopted=adopted)
        values = {**self._values(fact), "ids": ids}
        mine = next(iter(self._rows(connection, sql.BY_CLAIM, values)), None)
        others, rivals = (self._beside(connection, query, values) for query in (sql.OPEN, sql.OF_OFFER))
        rival = next(iter(rivals.values()), None)  # an offer has one claim that is not void
        owners = dict(self._execute(connection, sql.OWNERS, values).fetchall())
        state = claims.state_once_made(
            mine.state if mine else None,
            adds=not owners.keys() >= set(ids),
            # A rival of the same host gives the name back with the offer.
            name_is_free=others.keys() <= rivals.keys(),
            rival=rival.state if rival else None,
            adopted=adopted,
        )
        troubles = [f"{item} is noted for claim {owner}" for item, owner in owners.items() if owner != fact.claim]
        if rival and state is None:
            values["claim"] = rival.claim
            troubles += _bought_by(rival)
        else:
            if rival:  # it did not buy this offer, which can be sold only once
                self._execute(connection, sql.YIELD, values)
            troubles += self._note_state(connection, state, values, is_known=mine is not None)
        self._execute(connection, sql.MACHINES, values)
        if adopted:
            self._execute(connection, sql.NOT_GONE, {**values, "claim": fact.claim})
        return self._row(connection, values["claim"]), self._contested(fact, ids, troubles)

    def _beside(self, connection: Connection, query: str, values: dict[str, t.Any]) -> dict[str, Row]:
        """What a query finds beside the claim of these values, by claim."""
        return {row.claim: row for row in self._rows(connection, query, values) if row.claim != values["claim"]}

    def _note_state(
        self, connection: Connection, state: str | None, values: dict[str, t.Any], *, is_known: bool
    ) -> list[str]:
        """Note the claim in its new state, and what is wrong with that."""
        noted = {**values, "state": state, "reason": "noted without a claim"}
        self._execute(connection, sql.NOTE if is_known else sql.NOTE_LOST, noted)
        return ["the host has another purchase"] if state == claims.STRAY else []

    def _contested(self, fact: Purchase, ids: list[str], troubles: list[str]) -> str:
        """What is wrong with a purchase that was noted; empty if nothing is."""
        named = f"Offer {fact.offer} of host {fact.host} ({', '.join(ids) or 'no machine known yet'}) is contested"
        return f"{named}: {'; '.join(troubles)}. {self.where} has it on record." if troubles else ""

    def _under_own_claim(self, connection: Connection, fact: Purchase, *, adopted: bool) -> Purchase:
        """The fact under the claim by which its host has bought the offer, such as what another clone has just moved.

        One that counts as ended takes only what a person takes over; what it has noted does not hold any more then,
        such as the end of its lease. If the COMMIT was not answered, its own work has the same note.
        """
        own = (fact.project, fact.host, fact.account)
        for row in self._rows(connection, sql.OF_OFFER, {"offer": fact.offer}):
            is_over = row.state == claims.ENDED or row.note == note_of_claim(fact.note)
            if (row.project, row.host, row.account) != own:
                continue
            if adopted and is_over:
                return replace(fact, claim=row.claim, note={**dict.fromkeys(row.note), **fact.note})
            if row.state != claims.ENDED:
                return replace(fact, claim=row.claim)
        return fact

    def _values(
        self,
        what: Purchase | None = None,
        *,
        note: Variables | None = None,
        price_per_hour: float | None = None,
    ) -> dict[str, t.Any]:
        """The values of a statement, in the database's types. What a note has as None is ``gone`` from it."""
        price_per_hour, note = (price_per_hour, note) if what is None else (what.price_per_hour, what.note)
        return {
            **({} if what is None else vars(what)),
            "price_per_hour": None if price_per_hour is None else Decimal(str(price_per_hour)),
            "note": None if note is None else _json(note_of_claim(note)),
            "gone": [name for name, value in (note or {}).items() if value is None],
            "holder": _json(self._holder),
        }

    def _taken_over(self, row: Row) -> TakenOver:
        return TakenOver(f"{self.where} says that this run holds the purchase of offer {row.offer} no more.")

    # Talking to the database

    def _now(self, connection: Connection) -> float:
        return float(self._column(connection, sql.NOW)[0])

    def _column(self, connection: Connection, query: str, values: Params | None = None) -> list[t.Any]:
        """What a query of one column answers."""
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

    def _at_once(self, part: Step[Done], patience: float) -> Done:
        """What a step answers that is one transaction, which a lost connection repeats for ``patience`` seconds."""

        def step(connection: Connection) -> Done:
            with self._transaction(connection):
                return part(connection)

        return self._run(step, patience)

    def _read(self, query: str, values: Params) -> list[Row]:
        return self._look(lambda connection: self._rows(connection, query, values), [])

    def _look(self, part: Step[Done], nothing: Done) -> Done:
        """What a step answers that only reads; ``nothing`` where nobody has made the tables yet."""

        def step(connection: Connection) -> Done:
            with self._transaction(connection, read_only=True):
                return part(connection)

        try:
            return self._run(step, self._patience, make=False)
        except NoTables:
            return nothing


def _json(value: dict[str, t.Any]) -> Jsonb:
    """What the database keeps as JSON, whatever its encoding; see `_dumped`."""
    from psycopg.types.json import Jsonb

    return Jsonb(value, dumps=_dumped)


def _dumped(value: t.Any) -> bytes:
    """JSON by its letters, since a database without an encoding takes no escape of them.

    What no database takes (a NUL, half of a surrogate pair) becomes a question mark: that something was bought is never
    refused for a word of the API or of a machine.
    """
    return _NUL.sub(r"\1?", json.dumps(value, ensure_ascii=False)).encode(errors="replace")


def _bought_by(rival: Row) -> t.Iterator[str]:
    """What is wrong with a purchase of the offer that the rival's claim has bought."""
    yield f"host {rival.host} of project {rival.project} has bought the offer, too"
    if rival.state == claims.ENDED:
        yield "it counts as ended: if it runs, let that host take it over (provision_adopt), or end it by its id"


def _purchase_of(storage: Storage, project: str, host: str, account: str) -> Purchase:
    """Storage that a host keeps, as a purchase. Its claim is always the same, so a repetition finds its own work.

    It counts in the project for which it was bought; ``project``: the host's now.
    """
    claim = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{account} {storage.resource_id}"))
    price, note, begun = storage.price_per_hour, storage.entry(host), seconds_of(storage.kept_since)
    return Purchase(claim, storage.project or project, host, account, storage.resource_id, price, note, begun)


def _lines(row: t.Mapping[str, t.Any]) -> t.Iterator[Line]:
    """What a row says of its purchase, as a ledger's events of one claim: its end is its own, by whatever clock."""
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
