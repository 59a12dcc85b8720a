# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host in a registry that several controllers share; see `Registry`.

This file turns claims into host variables, and host variables into steps of a claim; `_postgresql` runs the steps.
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
import uuid
from dataclasses import replace

from .._provision import claims, ownership
from .._provision.entry import JOURNALED, MADE, PRICE, PURCHASE, REFUSED, Entry, read_entry, with_missing_cleared
from .._provision.lease import DATABASE_CLOCK, Clock
from .._provision.ledger import FAILED, GONE
from .._provision.ownership import Machine, price_of
from .._provision.place import prefix_of
from .._provision.purchase import LONGEST_POST
from .._provision.search import highest_known_price
from .._provision.spending import Bill
from .._text import grouped, seconds_of
from ._postgresql import Ceilings, ClaimedByOther, Contested, Database, Purchase, TakenOver
from ._protocol import Claimed, Entries, RegistryError, Variables
from ._row import Row


class SharedHost:
    """The claims of one host of a project. ``account``: the account to which its machines are billed."""

    def __init__(
        self,
        database: Database,
        project: str,
        host: str,
        account: str,
        *,
        run: str,
        ceilings: Ceilings | None = None,
    ) -> None:
        self._database = database
        self.read_only = database.read_only
        self.where = f"{database.where} (project {project}, host {host})"
        self._project, self._host, self._account = project, host, account
        self._run = run
        self._ceilings = ceilings or Ceilings()
        self._row: Row | None = None  # as this run has read or written it last
        self._ids: frozenset[str] = frozenset()  # of its machines, as this run has read or noted them
        self._held: Row | None = None  # the claim that this run may settle, with its epoch
        self._claims: dict[str, str] = {}  # ids of the claims that this run has read, by offer
        self._ahead = 0.0  # seconds from the monotonic clock to the database's; 0 if no row was read yet
        self._stop = threading.Event()

    @property
    def longest_post(self) -> float:
        """A setting of the database, from the last row that was read; see `Registry`."""
        return self._row.longest_post if self._row else LONGEST_POST

    def clock(self) -> Clock:
        """This computer's time, and the database's by the last row that was read."""
        return Clock(time.time(), database=time.monotonic() + self._ahead if self._ahead else None)

    def now(self) -> float:
        """The database's time, or this computer's if no row was read yet."""
        return self.clock().now(DATABASE_CLOCK)

    def read(self) -> Variables | None:
        """The host's open claim, or None if it has none that counts."""
        row = self._database.open_claim(self._project, self._host)
        self._ids = frozenset(row.resource_ids if row else ())
        if row is None:
            self._row = None
            return None
        if row.account != self._account:
            raise RegistryError(_of_another_account(self.where, row, self._account))
        return self._remembered(row)

    def hold(self) -> None:
        """Take over the claim that was read, unless this run already holds it. Raises Claimed."""
        row = self._row
        if row is None or row.state != claims.BUYING or (self._held and self._held.claim == row.claim):
            return
        with self._unless_taken():
            self._hold(self._database.take_over(row))

    def claim(self, variables: Variables) -> Variables:
        """Claim a new purchase, or the same offer again under the next epoch. Raises Claimed; see `Registry`."""
        row, offer = self._row, read_entry(variables).offer_id
        with self._unless_taken():
            if row is not None and row.state == claims.BUYING and row.offer == offer:
                self._hold(self._database.claim_again(row, variables.get(PRICE), variables, self._ceilings))
            else:
                wanted = self._purchase(str(uuid.uuid4()), offer, variables)
                self._hold(self._database.claim(wanted, self._ceilings))
        return self._remembered(t.cast(Row, self._held))

    def still_holds(self) -> bool:
        held = self._held
        row = self._database.claim_by_id(held.claim) if held else None
        return row is not None and held is not None and claims.is_held(row.state, same_epoch=row.epoch == held.epoch)

    def note(self, changes: Variables, disowned: t.Collection[str] = ()) -> Variables:
        """Note the result of the purchase. A claim never refuses to note that something was bought. See `Registry`."""
        change = read_entry(changes)
        if change.resource_ids or change.purchase == MADE or disowned:
            return self._made(with_missing_cleared(changes), change, disowned)
        if self._row is None or change.offer_id not in ("", self._row.offer):
            raise self._claimed()
        with self._unless_taken():
            if change.purchase == REFUSED:
                return self._refused(self._mine, changes)
            return self._remembered(self._database.add_to_note(self._mine, changes))

    def compare_and_set(self, changes: Variables) -> Variables:
        if self._row is None:
            raise self._claimed()
        with self._unless_taken():
            return self._remembered(self._database.compare_and_set(self._row, changes))

    def end(self, why: str = GONE, price_per_hour: float | None = None) -> Bill | None:
        """Note that all machines of the claim are gone, and why.

        Raises Claimed if its purchase is still open, or if another run has noted further machines.
        """
        row = self._row
        if row is None:
            return None
        if row.state == claims.BUYING:
            raise Claimed(self.where, self._remembered(row))
        with self._unless_taken():
            bill = self._database.end(row, self._ids, why, price_per_hour)
        self._row = None
        return bill

    def end_stray(self, offer: str, ids: t.Collection[str], why: str = GONE) -> Bill | None:
        return self._database.end_stray(offer, ids, why)

    def close(self) -> None:
        """Let go of the claim, so that the next run may settle it at once if that is still needed."""
        held = self._held
        self._let_go()
        if held is not None:
            with contextlib.suppress(RegistryError):
                self._database.renew(held, 0.0)

    # Steps

    @contextlib.contextmanager
    def _unless_taken(self) -> t.Iterator[None]:
        """Raise Claimed if another run has taken over the claim, or holds another open claim of this host."""
        try:
            yield
        except (TakenOver, ClaimedByOther) as error:
            if isinstance(error, ClaimedByOther) and not self._is_own(error.row):
                raise
            raise self._claimed() from None

    def _is_own(self, row: Row) -> bool:
        """Whether a row is an open claim of this host. The offer of an ended one is taken, even for this host."""
        return (row.project, row.host) == (self._project, self._host) and row.state in claims.OPEN

    @property
    def _mine(self) -> Row:
        """The claim with the epoch under which this run holds it; the row may have been read under a later one."""
        row = t.cast(Row, self._row)
        return self._held if self._held and self._held.claim == row.claim else row

    def _made(self, changes: Variables, change: Entry, disowned: t.Collection[str]) -> Variables:
        offer = change.offer_id or (self._row.offer if self._row else "")
        fact = self._purchase(self._claims.get(offer) or str(uuid.uuid4()), offer, changes)
        row = self._database.note(fact, change.resource_ids, disowned)
        self._ids |= {*change.resource_ids}
        self._let_go()
        return self._remembered(row)

    def _refused(self, row: Row, changes: Variables) -> Variables:
        if row.is_held_by_another(self._run):
            raise self._claimed()
        if row.state != claims.BUYING:  # bought, and failed without leaving anything
            self._database.end(row, self._ids, FAILED)
            return {**self._remembered(row), PURCHASE: REFUSED}
        freed = self._database.void(row, "not made", changes)
        self._let_go()
        return self._remembered(freed)

    def _hold(self, row: Row) -> None:
        """Hold the claim. A thread renews the hold, since the API may take longer to answer than a hold lasts."""
        self._stop.set()
        self._held, self._stop = row, threading.Event()
        self._remembered(row)
        threading.Thread(target=self._renew, args=(row, self._stop), daemon=True).start()

    def _renew(self, row: Row, stop: threading.Event) -> None:
        while not stop.wait(self._database.hold / 3):
            with contextlib.suppress(RegistryError):
                self._database.renew(row, self._database.hold)

    def _let_go(self) -> None:
        self._stop.set()
        self._held = None

    # Claims as host variables

    def _purchase(self, claim: str, offer: str, variables: Variables) -> Purchase:
        begun = seconds_of(variables.get(JOURNALED))  # an adopted machine was billed before it is noted here
        price = variables.get(PRICE)
        return Purchase(claim, self._project, self._host, self._account, offer, price, variables, begun)

    def _remembered(self, row: Row) -> Variables:
        """Remember the row, and return it as host variables."""
        self._row = row
        self._claims[row.offer] = row.claim
        self._ahead = row.seen_at.timestamp() - time.monotonic()
        return row.variables(self._run)

    def _claimed(self) -> Claimed:
        return Claimed(self.where, self.read())


def entries_of(rows: t.Iterable[Row], project: str, account: str, run: str) -> Entries:
    """The claims that may be billed, as entries of a project."""
    entries = Entries()
    for row in rows:
        is_here, entry = row.project == project, read_entry(row.variables(run))
        if row.account != account:
            if is_here and row.state in claims.OPEN:
                entries.broken[row.host] = _of_another_account("The shared registry", row, account)
        elif not is_here:
            # Without a noted name of the machine, one that no host of this project has
            name = entry.name or prefix_of(row.project) + row.host
            entries.other_projects[row.project, row.label_in(project)] = replace(entry, name=name)
        elif row.state == claims.STRAY:
            entries.strays[row.label_in(project)] = entry
        else:
            entries.hosts[row.host] = entry
    return entries


Read = t.Callable[[t.Collection[str]], t.Mapping[str, t.Optional[Machine]]]  # machines by id; None after a 404


def note_late_purchases(
    database: Database, account: str, unclaimed: t.Iterable[Machine], read: Read
) -> t.Iterator[str]:
    """Note the unclaimed machines that void claims have bought after all, and yield a sentence about each purchase.

    ``read`` reads machines by their ids, since a list may lag. If another claim has bought an offer, even one that has
    ended, no void claim can have bought it. A read-only database notes nothing. Raises RegistryError.
    """
    of_offer = grouped((ownership.offer_of(machine), machine) for machine in unclaimed)
    of_offer.pop("", None)
    late: dict[str, tuple[Row, list[Machine]]] = {}
    for row in database.void_claims(of_offer):
        if row.account == account and row.offer not in late and (machines := _proved(row, of_offer[row.offer])):
            late[row.offer] = row, machines
    fresh = read([ownership.id_of(machine) for _row, machines in late.values() for machine in machines])
    for row, machines in late.values():
        if machines := _proved(row, map(fresh.get, map(ownership.id_of, machines))):
            yield _late_purchase_noted(database, row, machines)


def _proved(row: Row, machines: t.Iterable[Machine | None]) -> list[Machine]:
    """The machines that a void claim has certainly bought; None stands for one that could not be read."""
    entry = read_entry(row.note)
    asked = row.offer, entry.name or row.host, entry.refused_status
    return [item for item in filter(None, machines) if claims.came_late(item, *asked)]


def _late_purchase_noted(database: Database, row: Row, machines: t.Sequence[Machine]) -> str:
    """Note what a void claim has bought after all, and return a sentence about it."""
    price = highest_known_price(price_of(machines), read_entry(row.variables()).price_per_hour)
    fact = Purchase(row.claim, row.project, row.host, row.account, row.offer, price)
    try:
        if not database.read_only:
            database.note(fact, list(map(ownership.id_of, machines)))
    except Contested as error:
        return str(error)
    return claims.bought_after_all(row.host, row.offer, machines, would=database.read_only)


def _of_another_account(where: str, row: Row, account: str) -> str:
    return (
        f"{where} has host {row.host} of project {row.project} on account {row.account}, but this is account"
        f" {account}. A host's name is unique in its project, whatever the account: use that account, or another"
        " provision_project."
    )
