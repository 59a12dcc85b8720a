# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the registry remembers of a host: the journal before a purchase, the registration after it.

And what a purchase changes there: before it is sent, once it is made, or if nothing came of it. Then what the host has
of it once its machine runs. Variables have the names that they have in the registry. In changes, None removes one.
"""

from __future__ import annotations

import re
import shlex
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from .._machine.connection import ADDRESS, Machine, is_readable, quoted_path
from .._text import abridged, items_of, mapping_of, number_of, read_price, seconds_of, text_of, texts_of
from .lease import (
    AT_MOST,
    ENDS_AT,
    IDLES,
    LEASED,
    LOCAL_CLOCK,
    NOTED_BY,
    REAPED_AT,
    clock_of,
    utc_rounded_up,
)
from .search import bill_between, total_of
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


def as_seen(changes: Variables) -> dict[str, t.Any]:
    """What is noted of a purchase with its machines: who notes them has just seen them, so none is missing."""
    ids = read_entry(changes).resource_ids
    return {**(dict.fromkeys((MISSING_SINCE, MISSING_AT)) if ids else {}), **changes}


def run_in_words(holder: t.Mapping[str, t.Any]) -> str:
    """A run in a message, by who has started it: ``alice at bastion (AWX job 7, process 4711)``."""
    known = [f"{name} {holder[key]}" for key, name in (("job", "AWX job"), ("process", "process")) if holder.get(key)]
    where = f"{holder.get('user') or 'someone'} at {holder.get('host') or 'an unknown computer'}"
    return f"{where} ({', '.join(known)})" if known else where


# What a host has once its machine runs: variables, SSH arguments, the names of a cluster's machines

Facts = dict[str, t.Any]
Connections = t.Sequence[t.Mapping[str, t.Any]]  # resource_id, ansible_host, ansible_port, ansible_user

_HANDED_OVER = "provision_bootstrap_host_key"  # the host key in the user data
_ANY_ID = "00000000-0000-4000-8000-000000000000"
_TRUST = {"first_use": "accept-new", "seeded": "yes", "none": "no"}
SSH_TRUST = "provision_ssh_trust"  # in the registry of all controllers: which host keys are accepted


def ssh_args(alias: str, trust: str, known_hosts: str, identity: str = "") -> str:
    """The options for one machine. Its key is kept under its id, so that a reused address never matches an old key.

    ``identity``: the file of the private key, which ssh may not try by itself; empty where nobody knows it, as with a
    registry that other controllers share.
    """
    pinned = shlex.quote(quoted_path(known_hosts)) if known_hosts and trust != "none" else "/dev/null"
    offered = f" -o IdentityFile={shlex.quote(quoted_path(identity))}" if is_readable(identity) else ""
    word = _TRUST.get(trust, _TRUST["first_use"])  # a later version may have noted another one
    kept = f"-o StrictHostKeyChecking={word} -o UserKnownHostsFile={pinned}"
    return f"-o HostKeyAlias={shlex.quote(alias)} {kept}{offered}"


def ssh_variables(arguments: str) -> Facts:
    """How Ansible calls ssh for a machine: with these options (`ssh_args`), and with the check of its key, as they say.

    A setting that is for all hosts, as AWX has it, would come before these options, and beat them.
    """
    return {**dict.fromkeys(SSH_ARGUMENTS, arguments), HOST_KEY_CHECKING: True}


def without_local_paths(variables: t.Mapping[str, t.Any]) -> Facts:
    """The same for the registry of all controllers: without the paths of this one, by which they mean nothing."""
    gone = (*SSH_ARGUMENTS, HOST_KEY_CHECKING, "provision_identity_file")
    kept = {name: value for name, value in variables.items() if name not in gone}
    word = _word_in(variables.get("ansible_ssh_extra_args"))
    return {**kept, SSH_TRUST: trust_of(word)} if word else kept


def _word_in(options: t.Any) -> str:
    """What options of ssh say of unknown host keys, empty if they say nothing."""
    match = re.search(r"StrictHostKeyChecking=(\S+)", str(options))
    return match[1] if match else ""


def trust_of(word: str) -> str:
    """The role's word for one of ssh's StrictHostKeyChecking."""
    return next((trust for trust, item in _TRUST.items() if item == word), "first_use")


def ssh_machines(host: str, entry: Entry, known_hosts: str) -> list[Machine]:
    """The machines of a registry entry, as a configuration of ssh wants them."""
    word = _word_in(entry.connection.get("ansible_ssh_extra_args")) or _TRUST.get(entry.ssh_trust, "accept-new")
    names = [host, *further_names(host, len(entry.instances))]
    return [
        Machine(
            name,
            item,
            _alias(item, entry.offer_id if name == host else name),
            word,
            known_hosts,
            entry.identity_file,
        )
        for name, item in zip(names, entry.instances)
    ]


def _alias(machine: t.Mapping[str, t.Any], otherwise: str) -> str:
    return str(machine.get("resource_id") or otherwise)


def instances_in_order(
    connections: Connections, noted: Connections, ids: t.Sequence[str]
) -> list[t.Mapping[str, t.Any]]:
    """How the machines of a host are reached: in the noted order, since the first one is the host, then further ones.

    One that is held (``ids``) and that a later status omits keeps its place and its address. Of one that is neither
    held nor noted nothing follows. While the API does not tell which is which, the only one has the only id, and
    several are reached as noted: by its id a key is pinned.
    """
    named = {connection.get("resource_id"): connection for connection in connections}
    before = {item.get("resource_id"): item for item in noted if item.get("resource_id") in {*named, *ids}}
    if None not in named:
        own = {item: named[item] for item in named if item in {*before, *ids}}
        return list({**before, **own}.values() or named.values()) if named else []
    if len(connections) == len(ids) == 1:
        return [{**connections[0], "resource_id": ids[0]}]
    return list(connections if None in before or len(before) < len(connections) else before.values())


def facts_of_machine(
    offer_id: str,
    resource_ids: t.Sequence[str],
    connections: Connections,
    price: float | None,
    trust: str,
    known_hosts: str,
    identity: str = "",
) -> Facts:
    """The variables of a host whose machine runs; the first machine of a cluster is the host itself."""
    first = connections[0]
    arguments = ssh_args(_alias(first, offer_id), trust, known_hosts, identity)
    return {
        "provision_procured_offer_id": offer_id,
        "provision_price_per_hour": price,
        "provision_resource_ids": list(resource_ids),
        "provision_instances": [dict(connection) for connection in connections],
        **{name: first.get(name) for name in ADDRESS},  # a person may have written it
        **ssh_variables(arguments),
    }


def facts_to_come(*, goes_on: bool) -> Facts:
    """What the role gives to a host before it is done with it, with values as they may be.

    ``goes_on``: it does more for a host whose machine runs, or that may have one, than to give it these variables.
    """
    machine = {"resource_id": _ANY_ID, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
    machines = facts_of_machine(_ANY_ID, [_ANY_ID], [machine], 1.0, "none", "") if goes_on else {}
    return {**machines, "provision_attempts": [{"offer_id": _ANY_ID, "outcome": "created", "msg": ""}]}


def connection_variables(entry: Entry, known_hosts: str, *, is_shared: bool) -> Facts:
    """How the machine of an entry is reached; empty if that is not known.

    Files beside an inventory say the same to Ansible, but without an inventory it does not read them. ``is_shared``: of
    a registry that several controllers share.
    """
    if not is_shared:
        return {name: value for name, value in entry.connection.items() if value is not None}
    if not entry.instances:
        return {}
    every = facts_of_machine(entry.offer_id, entry.resource_ids, entry.instances, None, entry.ssh_trust, known_hosts)
    return {name: every[name] for name in CONNECTION if every[name] is not None}


def facts_of_first_boot(entry: Entry) -> Facts:
    """What the machine's first boot was given, as the registry noted it with the order."""
    return {_HANDED_OVER: entry.bootstrap_host_key, BOOT_MARK: entry.boot_mark}


def lease_facts(end: float | None, begin: float | None, price: float | None) -> Facts:
    """Until when machines that were bought at ``begin`` (both in seconds since the epoch) may live, if that was said.

    And what they cost in all that time at most, in USD, at this price per hour.
    """
    if end is None:
        return {}
    bill = bill_between(price, begin, end)
    return {ENDS_AT: utc_rounded_up(end), AT_MOST: None if bill is None else round(bill, 2)}


def is_registered(variables: Variables, entry: Entry, seen: t.Mapping[str, t.Any]) -> bool:
    """Whether the registry and Ansible (``seen``: the host's own variables) say just that already."""
    is_seen = all(str(variables[name]) == str(seen.get(name)) for name in CONNECTION)
    return is_seen and is_kept(variables, entry, CONNECTION)


def is_kept(variables: Variables, entry: Entry, connection: t.Sequence[str] = ADDRESS) -> bool:
    """Whether the registry of all controllers says just that already; how ssh is called is each controller's matter."""
    return (
        tuple(variables["provision_resource_ids"]) == entry.resource_ids
        and tuple(variables["provision_instances"]) == entry.instances
        and all(variables[name] == entry.connection.get(name) for name in connection)
    )


def further_names(host: str, count: int) -> list[str]:
    """What the further machines of so many are called as hosts."""
    return [f"{host}-{number}" for number in range(1, count)]


def names_taken(host: str, names: t.Iterable[str]) -> str:
    """A cluster's further machines would take over hosts of the inventory."""
    return (
        f"The further machines of {host} would be called {abridged(names)}, and the inventory has hosts of these names,"
        " which would be taken over. Rename them (what the inventory plugin lists by its option hostname), or the host."
    )


def further_hosts(plan: t.Mapping[str, t.Any], connections: Connections) -> list[Facts]:
    """The further machines of a cluster as hosts of its groups: names after the first one, and how they are reached.

    ``plan``: of the first one.
    """
    return [
        {
            "name": name,
            **{key: machine[key] for key in ADDRESS},
            **ssh_variables(
                ssh_args(_alias(machine, name), plan["trust"], plan["known_hosts_file"], plan["identity_file"])
            ),
            "alias": _alias(machine, name),
            "resource_ids": [machine["resource_id"]] if machine["resource_id"] else [],
            "groups": plan["groups"],
        }
        for name, machine in zip(further_names(plan["host"], len(connections)), connections[1:])
    ]


def owned_row(host: str, entry: Entry) -> Facts:
    """A host with machines as a workflow and a table want it. ``price_per_hour``: USD, all its machines.

    ``entry``: by the registry, or by the host's own variables. ``at_most`` (USD) is what they cost until ``ends_at``;
    both are None for what lives until somebody ends it.
    """
    first = entry.instances[0]
    address, user = first.get("ansible_host"), first.get("ansible_user")
    port = int(number_of(first.get("ansible_port")) or 22)
    return {
        "host": host,
        "offer_id": entry.offer_id,
        "resource_ids": list(entry.resource_ids),
        "machines": len(entry.instances),
        "ansible_host": address,
        "ansible_port": port,
        "ansible_user": user,
        "ssh": f"ssh {user}@{address}" if port == 22 else f"ssh -p {port} {user}@{address}",
        "price_per_hour": entry.price_per_hour,
        "ends_at": entry.ends_at or None,
        "at_most": entry.at_most,
    }


def tasks_that_reach(reach: bool, verify: bool, entry: Entry, trust: str, keeps_host_keys: bool) -> str:
    """How the role reaches a machine that runs (see its tasks/), empty if it is not to be reached.

    A shared registry keeps the host key that answers first, for the other controllers.
    """
    if not reach:
        return ""
    if verify or (trust == "seeded" and entry.bootstrap_host_key):
        return "prepare"
    return "reach_and_share_key" if shares_host_keys(trust, keeps_host_keys) and not entry.host_keys else "reach"


def shares_host_keys(trust: str, keeps_host_keys: bool) -> bool:
    """Whether the registry has a machine's host keys, for other controllers. ``trust``: provision_host_key_trust."""
    return keeps_host_keys and trust != "none"


def if_of_plan(plan: Variables, variables: Variables | None) -> Variables | None:
    """The entry, if it is still about the purchase of the plan; None if another run has bought for the host since."""
    return variables if variables is not None and is_about(variables, plan["offer_id"]) else None


def noted_once_reached(plan: Variables, before: Variables | None) -> dict[str, t.Any]:
    """What is noted once a machine was reached: it was tested, if it was; and the key that was handed over is used up.

    ``before``: what the registry says; None without an entry.
    """
    tested = {"provision_verified": True} if plan["verify"] else {}
    return {**tested, **({_HANDED_OVER: None} if _HANDED_OVER in (before or {}) else {})}
