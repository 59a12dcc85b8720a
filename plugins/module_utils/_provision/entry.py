# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the registry remembers of a host: the journal before a purchase, the registration after it.

And what a purchase changes there: before it is sent, once it is made, or if nothing came of it. Variables have the
names that they have in the registry. In changes, None removes one.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from .._machine.connection import ADDRESS
from .._text import items_of, mapping_of, number_of, read_price, seconds_of, text_of, texts_of
from .lease import AT_MOST, ENDS_AT, IDLES, LEASED, LOCAL_CLOCK, NOTED_BY, REAPED_AT, clock_of
from .prices import total_of
from .storage import STORAGE, STORAGE_OF, Storage, changes_of, read_storage

Variables = t.Mapping[str, t.Any]

OFFER, PURCHASE, STATUS = "provision_procured_offer_id", "provision_purchase", "provision_refused_status"
JOURNALED, EXPIRED = "provision_journaled_at", "provision_expired_seen_at"
IDS, PRICE = "provision_resource_ids", "provision_price_per_hour"
BOUGHT = (OFFER, IDS, PRICE)  # what a host has, where no more of its entry is known

USUAL_PROJECT = "default"  # the one of hosts without provision_project

# What became of the newest purchase of an entry (`provision_purchase`)
SENT = "sent"  # noted before it is sent; the answer is not known, or was none
MADE = "made"
REFUSED = "refused"

# What the offer's status has named as bought, though it was listed before the purchase was sent
LISTED_BEFORE = "provision_listed_before"

# What its answer has named, and what was bought with another offer: see `holdings`. It is neither held nor ended
AFFECTED = "provision_affected_ids"

# Digests of what was ordered first: see `sending.order_digests`
ORDERED = "provision_ordered"
# Whether the user data that were ordered leave a mark at their end: see `waiting`
BOOT_MARK = "provision_boot_mark"

# The number of the sealed plan that it was bought by: see `sealed`
PLAN = "provision_plan"

# The two looks that did not find the machines: see `missing`
MISSING_SINCE = "provision_missing_since"
MISSING_AT = "provision_missing_at"  # half an hour or more after the first

# When its machines were tested last (`at`), how that went (`verdict`), and why it was not better (`reasons`)
TESTED = "provision_tested"

# Since when its machine is protected: see `declaration.why_protected`
PROTECTED_SINCE = "provision_protected_since"

# In what a registry answers, never in what it keeps: another run that is buying for the host at this moment
HELD_BY = "provision_held_by"
# The same of one that several controllers share: the run that has bought, or that has settled the purchase
BOUGHT_BY = "provision_bought_by"


@dataclass(frozen=True)
class Entry:
    """A registry entry, read as tolerantly as a person may have written it. Prices are in USD per hour.

    Machines prove a purchase, whatever else is noted. A person's may not say what became of it.
    """

    offer_id: str = ""
    resource_ids: tuple[str, ...] = ()
    purchase: str = ""
    price_per_hour: float | None = None
    instances: tuple[Variables, ...] = ()
    journaled_at: str = ""
    clock: str = LOCAL_CLOCK  # the one that noted its moments
    name: str = ""
    project: str = ""  # empty where nothing was noted: of the usual one, or taken over, or written by hand
    groups: tuple[str, ...] = ()
    verified: bool = False
    adopted: bool = False
    bootstrap_host_key: str = ""
    identity_file: str = ""
    host_keys: tuple[str, ...] = ()
    ssh_trust: str = "first_use"
    held_by: str = ""  # another run that is buying at this moment
    bought_by: str = ""  # the run that has bought, where a registry knows it
    offer: Variables = field(default_factory=dict)
    connection: Variables = field(default_factory=dict)
    refused_status: int | None = None
    leased: str = ""  # its lease as it was given at the purchase
    ends_at: str = ""  # the moment that was noted for its end, or to which that was moved
    at_most: float | None = None  # USD until then
    idles: str = ""  # how long it may be idle, as it was given at the purchase
    reaped_at: str = ""  # when a run has begun to end it
    listed_before: tuple[str, ...] = ()  # ids that only seem to be bought with it: they were there before
    ordered: Variables = field(default_factory=dict)  # digests of its first order
    boot_mark: bool = False  # its user data leave a mark at their end
    missing_since: str = ""  # when a look did not find its machines
    missing_at: str = ""  # when a second look did not
    protected_since: str = ""  # when its host was first declared to be protected; empty if it is not
    storage: tuple[Storage, ...] = ()  # of its purchase, and what earlier ones have left
    storage_of: str = ""  # the host whose machine has ended, if it is about storage alone
    affected: tuple[str, ...] = ()  # ids of others' storage that its purchase only named
    tested: Variables = field(default_factory=dict)  # the last test of its machines; see `TESTED`

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing that was or may be bought."""
        return not (self.offer_id or self.resource_ids)

    def is_same(self, other: Entry) -> bool:
        """Whether the two are about the same purchase, with the same machines."""
        return (self.offer_id, self.resource_ids) == (other.offer_id, other.resource_ids)

    @property
    def is_open(self) -> bool:
        """Whether a purchase was sent whose answer is not known."""
        return bool(self.offer_id) and not self.resource_ids and self.purchase not in (MADE, REFUSED)

    @property
    def first_order(self) -> Variables:
        """What is noted of its order, which may still arrive whatever is sent later."""
        return {ORDERED: self.ordered or None, BOOT_MARK: self.boot_mark or None}

    @property
    def is_made(self) -> bool:
        """Whether its purchase was certainly made."""
        return bool(self.resource_ids) or (bool(self.offer_id) and self.purchase == MADE)

    @property
    def may_have_bought(self) -> bool:
        """Whether something was or may be bought under it, so that no other offer may be bought for its host."""
        return not (self.is_empty or self.is_refused)

    @property
    def is_unanswered(self) -> bool:
        """Whether it is open, and no answer came at all: a refusal is one, though not yet settled."""
        return self.is_open and self.refused_status is None

    @property
    def is_refused(self) -> bool:
        """Whether its purchase was refused, and so came to nothing."""
        return self.purchase == REFUSED and not self.resource_ids

    @property
    def is_missing(self) -> bool:
        """Whether two looks did not find its machines, which it keeps: they may be billed."""
        return bool(self.missing_at and self.resource_ids)

    @property
    def kept_storage(self) -> tuple[Storage, ...]:
        """The storage that has survived its machine."""
        return tuple(item for item in self.storage if item.kept_since)

    @property
    def stays_per_hour(self) -> float | None:
        """What goes on after its machine, USD per hour, None if unknown. Kept storage has entries of its own."""
        return total_of(item.price_per_hour for item in self.storage if not item.kept_since)

    @property
    def all_ids(self) -> tuple[str, ...]:
        """The ids of its machines and its storage."""
        return tuple(dict.fromkeys((*self.resource_ids, *(item.resource_id for item in self.storage))))

    @property
    def billed(self) -> tuple[t.Any, ...]:
        """What it says of what is billed, and at which price."""
        return self.offer_id, self.is_made, self.resource_ids, self.price_per_hour

    def is_of_another_project(self, project: str) -> bool:
        """Whether it was certainly written for another project. What was bought for the usual one has a name only."""
        noted = project_of(self.project) if self.name else self.project
        return noted not in ("", project) and self.may_have_bought

    @property
    def was_ready(self) -> bool:
        """Whether its machine may be in use: it was registered as ready, or taken as it was found."""
        return bool(self.instances) or self.adopted


SSH_ARGUMENTS = ("ansible_ssh_extra_args", "ansible_sftp_extra_args", "ansible_scp_extra_args")
HOST_KEY_CHECKING = "ansible_host_key_checking"
CONNECTION = (*ADDRESS, *SSH_ARGUMENTS, HOST_KEY_CHECKING)


def read_entry(variables: Variables | None) -> Entry:
    """The entry of a host's variables by their names in the registry; an empty one of None.

    Entries of persons may hold a single id as text, ids in capitals, and leave out whatever they like.
    """
    known = variables or {}
    storage, storage_of = read_storage(known.get(STORAGE)), text_of(known.get(STORAGE_OF))
    ids, affected = unique_ids(known.get("provision_resource_ids")), unique_ids(known.get(AFFECTED))
    beside = {*affected, *(item.resource_id for item in storage)}
    refused = number_of(known.get("provision_refused_status"))
    return Entry(
        offer_id=text_of(known.get(OFFER)).lower(),
        # What is noted as storage is no machine, wherever else it is named.
        resource_ids=ids if storage_of else tuple(item for item in ids if item not in beside),
        purchase=text_of(known.get(PURCHASE)).lower(),
        price_per_hour=read_price(known.get("provision_price_per_hour")),
        instances=tuple(item for item in items_of(known.get("provision_instances")) if isinstance(item, t.Mapping)),
        journaled_at=text_of(known.get("provision_journaled_at")),
        clock=clock_of(known.get(NOTED_BY)),
        name=text_of(known.get("provision_resource_name")),
        project=text_of(known.get("provision_project")),
        groups=texts_of(known.get("provision_groups")),
        verified=known.get("provision_verified") is True,
        adopted=known.get("provision_adopted") is True,
        bootstrap_host_key=text_of(known.get("provision_bootstrap_host_key")),
        identity_file=text_of(known.get("provision_identity_file")),
        host_keys=texts_of(known.get("provision_host_keys")),
        ssh_trust=text_of(known.get("provision_ssh_trust")) or "first_use",
        held_by=text_of(known.get(HELD_BY)),
        bought_by=text_of(known.get(BOUGHT_BY)),
        offer=mapping_of(known.get("provision_offer")),
        connection={name: known.get(name) for name in CONNECTION},
        refused_status=None if refused is None else int(refused),
        leased=text_of(known.get(LEASED)),
        ends_at=_moment(known.get(ENDS_AT)),
        at_most=number_of(known.get(AT_MOST)),
        idles=text_of(known.get(IDLES)),
        reaped_at=_moment(known.get(REAPED_AT)),
        # Of what a purchase only touched a later look may tell less than the first one.
        listed_before=(*unique_ids(known.get(LISTED_BEFORE)), *affected),
        ordered=mapping_of(known.get(ORDERED)),
        boot_mark=known.get(BOOT_MARK) is True,
        missing_since=_moment(known.get(MISSING_SINCE)),
        missing_at=_moment(known.get(MISSING_AT)),
        protected_since=_moment(known.get(PROTECTED_SINCE)),
        storage=storage,
        storage_of=storage_of,
        affected=affected,
        tested=mapping_of(known.get(TESTED)),
    )


def all_storage(entries: t.Iterable[tuple[str, Entry]]) -> list[Storage]:
    """All storage that entries name, kept or not."""
    return [item for _name, entry in entries for item in entry.storage]


def storage_kept_by(host: str, strays: t.Iterable[Entry]) -> tuple[Storage, ...]:
    """The storage of a host whose machine has ended, of all that hosts have beside their machines."""
    return tuple(item for entry in strays if entry.storage_of == host for item in entry.storage)


def _moment(value: t.Any) -> str:
    """A moment as text; YAML reads one that a person wrote without quotes as a time."""
    return value.isoformat() if isinstance(value, datetime) else text_of(value)


def project_of(given: object) -> str:
    """The project that is meant: without one, be it an empty text, the usual one."""
    return str(given or USUAL_PROJECT)


def unique_ids(value: t.Any) -> tuple[str, ...]:
    """Ids, or a single one, in small letters and each once."""
    return tuple(dict.fromkeys(item.lower() for item in texts_of(value)))


# What a purchase changes


def facts_of_order(body: Variables, project: str, note: Variables) -> dict[str, t.Any]:
    """What an entry keeps of an order beside its offer. ``body``: of the request. ``note``: what the plan adds.

    Of the usual project the name alone is kept.
    """
    named = {"provision_resource_name": body["resource_name"]} if "resource_name" in body else {}
    return {**note, **named, **({} if project == USUAL_PROJECT else {"provision_project": project})}


def is_about(variables: Variables, offer_id: str) -> bool:
    """Whether an entry is about the purchase of this offer."""
    return read_entry(variables).offer_id == offer_id


def forbids_buying(entry: Entry, offer_id: str) -> bool:
    """Whether an entry forbids buying the offer now: another run is buying, or another offer may have been bought."""
    return bool(entry.held_by) or (entry.may_have_bought and entry.offer_id != offer_id)


def is_journaled(variables: Variables, offer_id: str) -> bool:
    """Whether an entry has the moment at which this offer's purchase was noted."""
    return is_about(variables, offer_id) and JOURNALED in variables


def says_already(variables: Variables | None, changes: Variables) -> bool:
    """Whether an entry says all of this already, so that nothing needs to be written."""
    return variables is not None and all(variables.get(name) == value for name, value in changes.items())


def entry_before_sending(
    facts: Variables, price_per_hour: float | None, journaled: Variables, order: Variables
) -> dict[str, t.Any]:
    """The journal of a purchase that is about to be sent. ``price_per_hour``: USD, of the whole offer."""
    entry = {**facts, PRICE: price_per_hour, **journaled, **order, PURCHASE: SENT}
    return {name: value for name, value in entry.items() if value is not None}


def changes_once_made(
    before: Variables,
    facts: Variables,
    ids: t.Collection[str],
    strange: t.Collection[str],
    disowned: t.Collection[str] = (),
) -> dict[str, t.Any]:
    """The changes once a purchase was made; none if the entry has them already. What it says of this purchase stays.

    ``facts``: with the offer's id. ``strange``: ids that only seem to belong to it, since they were listed before.
    ``disowned``: see `Registry`; with those there is always something to note.
    """
    about_this = is_about(before, facts[OFFER])
    changes: dict[str, t.Any] = {} if about_this else dict.fromkeys(before)
    changes.update({name: value for name, value in facts.items() if not (about_this and name in before)})
    changes.update({OFFER: facts[OFFER], PURCHASE: MADE, STATUS: None, EXPIRED: None})
    if ids:
        changes[IDS] = list(ids)
    if strange:
        changes[LISTED_BEFORE] = list(strange)
    return {} if says_already(before, changes) and not disowned else changes


def is_same_purchase(before: Variables, now: Variables) -> bool:
    """Whether an entry still has the purchase that it had before: no other run has begun a new one."""
    return bool(now) and now.get(JOURNALED) == before.get(JOURNALED)


def changes_once_freed(
    offer_id: str, status: int | None, *, is_made: bool, kept: t.Collection[Storage]
) -> list[dict[str, t.Any]]:
    """What to note, one after the other, once nothing came of a purchase.

    ``status``: of the HTTP answer that refused it. ``is_made``: it was made and failed later, so it may have been
    billed until now. ``kept``: storage that it has left.
    """
    began = [{OFFER: offer_id, PURCHASE: MADE, **changes_of(kept, ())}] if is_made else []
    ended = {PURCHASE: REFUSED, EXPIRED: None, IDS: None}
    return [*began, ended if status is None else {**ended, STATUS: status}]


def seconds_gone(variables: Variables, earliest: float) -> float:
    """Seconds that have passed, by every clock, since the offer was seen as gone and since its purchase was noted.

    ``earliest``: the earliest time that any clock shows now, in seconds since the epoch. If a clock was behind when it
    noted one of these moments, and was set right since, that time has not passed.
    """
    moments = [seconds_of(variables.get(name)) for name in (EXPIRED, JOURNALED)]
    return max(0.0, earliest - max((moment for moment in moments if moment is not None), default=earliest))
