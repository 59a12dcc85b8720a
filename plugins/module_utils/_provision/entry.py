# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's registry entry: the journal before a purchase, the registration after it, and how a purchase changes both.

Also the variables that a host gets once its machine runs. Variables have their names in the registry. In changes, None
removes a variable.
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
    moment_of,
    noted_end,
)
from .search import total_of
from .storage import STORAGE, STORAGE_OF, Storage, read_storage, storage_changes

Variables = t.Mapping[str, t.Any]

OFFER, PURCHASE, STATUS = "provision_procured_offer_id", "provision_purchase", "provision_refused_status"
JOURNALED, EXPIRED = "provision_journaled_at", "provision_expired_seen_at"
IDS, PRICE = "provision_resource_ids", "provision_price_per_hour"
BOUGHT = (OFFER, IDS, PRICE)  # the variables that describe a purchase if no more of its entry is known

DEFAULT_PROJECT = "default"  # of hosts without provision_project

# The result of an entry's newest purchase (`provision_purchase`)
SENT = "sent"  # noted before it is sent; no answer came, or none is known
MADE = "made"
REFUSED = "refused"

# Ids that the offer's status named as bought, although they were listed before the purchase was sent
LISTED_BEFORE = "provision_listed_before"

# Ids in the purchase's answer that were bought with another offer: see `holdings`. They are neither held nor ended
AFFECTED = "provision_affected_ids"

# Digests of the first order: see `sending.order_digests`
ORDERED = "provision_ordered"
TOKEN = "token"  # in ORDERED: the part whose digest shows that another token was used
# Whether the ordered user data leaves a mark at its end: see `waiting`
BOOT_MARK = "provision_boot_mark"

# The number of the sealed plan that bought it: see `sealed`
PLAN = "provision_plan"

# The two looks that did not find the machines: see `missing`
MISSING_SINCE = "provision_missing_since"
MISSING_AT = "provision_missing_at"  # half an hour or more after the first

# The last test of its machines: its time (`at`), its `verdict`, and the `reasons` for anything worse than ok
TESTED = "provision_tested"

# Since when its machine is protected: see `declaration.why_protected`
PROTECTED_SINCE = "provision_protected_since"

# Registries add these two to what they return, and never keep them: another run that is buying for the host right now
HELD_BY = "provision_held_by"
# Only with a shared registry: the run that bought, or that settled the purchase
BOUGHT_BY = "provision_bought_by"


@dataclass(frozen=True)
class Entry:
    """A registry entry, read tolerantly, since a person may have written it. Prices are in USD per hour.

    If it names machines, its purchase was made, whatever else is noted: a person may leave out the rest.
    """

    offer_id: str = ""
    resource_ids: tuple[str, ...] = ()
    purchase: str = ""
    price_per_hour: float | None = None
    instances: tuple[Variables, ...] = ()
    journaled_at: str = ""
    clock: str = LOCAL_CLOCK  # the clock that noted its moments
    name: str = ""
    project: str = ""  # empty if none was noted: it is the default project, or the entry was adopted or handwritten
    groups: tuple[str, ...] = ()
    verified: bool = False
    adopted: bool = False
    bootstrap_host_key: str = ""
    identity_file: str = ""
    host_keys: tuple[str, ...] = ()
    ssh_trust: str = "first_use"
    held_by: str = ""  # another run that is buying right now
    bought_by: str = ""  # the run that bought, if the registry knows it
    offer: Variables = field(default_factory=dict)
    connection: Variables = field(default_factory=dict)
    refused_status: int | None = None
    leased: str = ""  # its lease as given at the purchase
    ends_at: str = ""  # the end of its lease, as noted at the purchase or moved later
    at_most: float | None = None  # USD until then
    idles: str = ""  # how long it may be idle, as given at the purchase
    reaped_at: str = ""  # when a run began to end it
    listed_before: tuple[str, ...] = ()  # ids that only seem to be bought with it: they existed before
    ordered: Variables = field(default_factory=dict)  # digests of its first order
    boot_mark: bool = False  # its user data leaves a mark at its end
    missing_since: str = ""  # when a look first did not find its machines
    missing_at: str = ""  # when a second look did not find them either
    protected_since: str = ""  # when its host was first declared protected; empty if it is not
    storage: tuple[Storage, ...] = ()  # of its purchase and of earlier ones
    storage_of: str = ""  # if the entry is only about storage: the host whose machine has ended
    affected: tuple[str, ...] = ()  # ids of others' storage that its purchase only named
    tested: Variables = field(default_factory=dict)  # the last test of its machines: see `TESTED`

    @property
    def lease_end(self) -> float | None:
        """The noted end of its lease (seconds since the epoch); None if it has none, or if that cannot be read.

        The lease of a machine that was made late ends later than noted: `lease.end_of`.
        """
        return moment_of(self.ends_at)

    @property
    def is_empty(self) -> bool:
        """Whether it names no purchase."""
        return not (self.offer_id or self.resource_ids)

    def is_same(self, other: Entry) -> bool:
        """Whether both entries are about the same purchase with the same machines."""
        return (self.offer_id, self.resource_ids) == (other.offer_id, other.resource_ids)

    @property
    def is_open(self) -> bool:
        """Whether a purchase was sent and its result is unknown."""
        return bool(self.offer_id) and not self.resource_ids and self.purchase not in (MADE, REFUSED)

    @property
    def token_digest(self) -> str:
        """The digest of the token that bought it (`sending.order_digests`); empty if none was noted."""
        return text_of(self.ordered.get(TOKEN))

    @property
    def first_order(self) -> Variables:
        """The noted facts of its first order, which may still arrive after later ones."""
        return {ORDERED: self.ordered or None, BOOT_MARK: self.boot_mark or None}

    @property
    def is_made(self) -> bool:
        """Whether its purchase was certainly made."""
        return bool(self.resource_ids) or (bool(self.offer_id) and self.purchase == MADE)

    @property
    def may_have_bought(self) -> bool:
        """Whether its purchase was or may have been made, so that the host must not buy another offer."""
        return not (self.is_empty or self.is_refused)

    @property
    def is_unanswered(self) -> bool:
        """Whether its purchase is open and got no answer at all, not even a refusal that is not settled yet."""
        return self.is_open and self.refused_status is None

    @property
    def is_refused(self) -> bool:
        """Whether its purchase was refused, and so bought nothing."""
        return self.purchase == REFUSED and not self.resource_ids

    @property
    def is_missing(self) -> bool:
        """Whether two looks did not find its machines. They may be billed, so it keeps them."""
        return bool(self.missing_at and self.resource_ids)

    @property
    def kept_storage(self) -> tuple[Storage, ...]:
        """The storage that has survived its machine."""
        return tuple(item for item in self.storage if item.kept_since)

    @property
    def stays_per_hour(self) -> float | None:
        """The price of the storage that will outlive its machine, in USD per hour; None if unknown.

        Storage that is kept already is not included: it has entries of its own.
        """
        return total_of(item.price_per_hour for item in self.storage if not item.kept_since)

    @property
    def all_ids(self) -> tuple[str, ...]:
        """The ids of its machines and its storage."""
        return tuple(dict.fromkeys((*self.resource_ids, *(item.resource_id for item in self.storage))))

    @property
    def billing_facts(self) -> tuple[t.Any, ...]:
        """All facts that decide what is billed, and at which price; for comparison."""
        return self.offer_id, self.is_made, self.resource_ids, self.price_per_hour

    def is_of_another_project(self, project: str) -> bool:
        """Whether it was certainly written for another project. Purchases of the default project note only a name."""
        noted = project_of(self.project) if self.name else self.project
        return noted not in ("", project) and self.may_have_bought

    @property
    def was_ready(self) -> bool:
        """Whether its machine may be in use: it was registered as ready, or adopted."""
        return bool(self.instances) or self.adopted


SSH_ARGUMENTS = ("ansible_ssh_extra_args", "ansible_sftp_extra_args", "ansible_scp_extra_args")
HOST_KEY_CHECKING = "ansible_host_key_checking"
CONNECTION = (*ADDRESS, *SSH_ARGUMENTS, HOST_KEY_CHECKING)


def read_entry(variables: Variables | None) -> Entry:
    """Read an entry from a host's registry variables; None gives an empty entry.

    Handwritten entries may have a single id as text, or ids in capitals, and may leave out anything.
    """
    known = variables or {}
    storage, storage_of = read_storage(known.get(STORAGE)), text_of(known.get(STORAGE_OF))
    ids, affected = unique_ids(known.get("provision_resource_ids")), unique_ids(known.get(AFFECTED))
    no_machines = {*affected, *(item.resource_id for item in storage)}
    refused = number_of(known.get("provision_refused_status"))
    return Entry(
        offer_id=text_of(known.get(OFFER)).lower(),
        resource_ids=ids if storage_of else tuple(item for item in ids if item not in no_machines),
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
        # Affected ids existed before as well; a later look may no longer show that.
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
    """All storage of the entries, kept or not."""
    return [item for _name, entry in entries for item in entry.storage]


def storage_kept_by(host: str, strays: t.Iterable[Entry]) -> tuple[Storage, ...]:
    """The storage of a host whose machine has ended, from the entries that hosts have besides their machines."""
    return tuple(item for entry in strays if entry.storage_of == host for item in entry.storage)


def _moment(value: t.Any) -> str:
    """A moment as text. YAML has parsed an unquoted one into a time."""
    return value.isoformat() if isinstance(value, datetime) else text_of(value)


def project_of(given: object) -> str:
    """The given project, or the default one if none or an empty text is given."""
    return str(given or DEFAULT_PROJECT)


def unique_ids(value: t.Any) -> tuple[str, ...]:
    """A list of ids, or a single id, in small letters and without duplicates."""
    return tuple(dict.fromkeys(item.lower() for item in texts_of(value)))


# How a purchase changes an entry


def facts_of_order(body: Variables, project: str, note: Variables) -> dict[str, t.Any]:
    """The variables that an entry keeps of an order, except its offer. A default project is not noted.

    ``body``: of the purchase's request. ``note``: variables that the plan adds.
    """
    named = {"provision_resource_name": body["resource_name"]} if "resource_name" in body else {}
    return {**note, **named, **({} if project == DEFAULT_PROJECT else {"provision_project": project})}


def is_about(variables: Variables, offer_id: str) -> bool:
    """Whether an entry is about the purchase of this offer."""
    return read_entry(variables).offer_id == offer_id


def forbids_buying(entry: Entry, offer_id: str) -> bool:
    """Whether an entry forbids buying the offer now: another run is buying, or another offer may have been bought."""
    return bool(entry.held_by) or (entry.may_have_bought and entry.offer_id != offer_id)


def is_journaled(variables: Variables, offer_id: str) -> bool:
    """Whether an entry is about this offer and has the moment at which its purchase was noted."""
    return is_about(variables, offer_id) and JOURNALED in variables


def has_already(variables: Variables | None, changes: Variables) -> bool:
    """Whether an entry already has all these values, so that nothing needs to be written."""
    return variables is not None and all(variables.get(name) == value for name, value in changes.items())


def entry_before_sending(
    facts: Variables, price_per_hour: float | None, journaled: Variables, order: Variables
) -> dict[str, t.Any]:
    """The journal entry of a purchase that is about to be sent. ``price_per_hour``: USD, of the whole offer."""
    entry = {**facts, PRICE: price_per_hour, **journaled, **order, PURCHASE: SENT}
    return {name: value for name, value in entry.items() if value is not None}


def changes_once_made(
    before: Variables,
    facts: Variables,
    ids: t.Collection[str],
    listed_before: t.Collection[str],
    disowned: t.Collection[str] = (),
) -> dict[str, t.Any]:
    """The changes after a purchase was made; empty if the entry has them already.

    Values that the entry has of this purchase stay. ``facts``: variables, with the offer's id. ``ids``: its machines.
    ``listed_before``: ids that only seem to belong to it. ``disowned``: see `Registry`; if there are any, the changes
    are never empty.
    """
    about_this = is_about(before, facts[OFFER])
    changes: dict[str, t.Any] = {} if about_this else dict.fromkeys(before)
    changes.update({name: value for name, value in facts.items() if not (about_this and name in before)})
    changes.update({OFFER: facts[OFFER], PURCHASE: MADE, STATUS: None, EXPIRED: None})
    if ids:
        changes[IDS] = list(ids)
    if listed_before:
        changes[LISTED_BEFORE] = list(listed_before)
    return {} if has_already(before, changes) and not disowned else changes


def is_same_purchase(before: Variables, now: Variables) -> bool:
    """Whether an entry still has the same purchase: no other run has begun a new one."""
    return bool(now) and now.get(JOURNALED) == before.get(JOURNALED)


def changes_once_freed(
    offer_id: str, status: int | None, *, is_made: bool, kept: t.Collection[Storage]
) -> list[dict[str, t.Any]]:
    """The changes to note, one after the other, after a purchase came to nothing.

    ``status``: of the HTTP answer that refused it. ``is_made``: it was made and failed later, so it may have been
    billed until now. ``kept``: storage that remains of it.
    """
    began = [{OFFER: offer_id, PURCHASE: MADE, **storage_changes(kept, ())}] if is_made else []
    ended = {PURCHASE: REFUSED, EXPIRED: None, IDS: None}
    return [*began, ended if status is None else {**ended, STATUS: status}]


def seconds_since_expired(variables: Variables, earliest: float) -> float:
    """Seconds that have certainly passed since the offer was seen as expired and since its purchase was noted.

    ``earliest``: the earliest time that any clock shows now, in seconds since the epoch. The later of the two moments
    counts, since a clock that was slow at one of them, and was corrected later, would make the time too long.
    """
    moments = [seconds_of(variables.get(name)) for name in (EXPIRED, JOURNALED)]
    return max(0.0, earliest - max((moment for moment in moments if moment is not None), default=earliest))


def with_missing_cleared(changes: Variables) -> dict[str, t.Any]:
    """The changes to an entry. If they name machines, these were just seen, so they are no longer noted as missing."""
    ids = read_entry(changes).resource_ids
    return {**(dict.fromkeys((MISSING_SINCE, MISSING_AT)) if ids else {}), **changes}


def run_in_words(holder: t.Mapping[str, t.Any]) -> str:
    """A run as text for people: ``alice at bastion (AWX job 7, process 4711)``."""
    known = [f"{name} {holder[key]}" for key, name in (("job", "AWX job"), ("process", "process")) if holder.get(key)]
    where = f"{holder.get('user') or 'someone'} at {holder.get('host') or 'an unknown computer'}"
    return f"{where} ({', '.join(known)})" if known else where


# Once the machine runs: the host's variables, SSH arguments, and the names of a cluster's machines

Facts = dict[str, t.Any]
Connections = t.Sequence[t.Mapping[str, t.Any]]  # resource_id, ansible_host, ansible_port, ansible_user

_HANDED_OVER = "provision_bootstrap_host_key"  # the host key in the user data
_ANY_ID = "00000000-0000-4000-8000-000000000000"
_TRUST = {"first_use": "accept-new", "seeded": "yes", "none": "no"}
SSH_TRUST = "provision_ssh_trust"  # in a shared registry: which host keys are accepted


def ssh_args(alias: str, trust: str, known_hosts: str, identity: str = "") -> str:
    """The ssh options for one machine. Its key is pinned by its id, so that a reused address never matches an old key.

    ``identity``: the file of the private key, which ssh may not try otherwise; empty if unknown, as with a shared
    registry.
    """
    pinned = shlex.quote(quoted_path(known_hosts)) if known_hosts and trust != "none" else "/dev/null"
    offered = f" -o IdentityFile={shlex.quote(quoted_path(identity))}" if is_readable(identity) else ""
    checking = _TRUST.get(trust, _TRUST["first_use"])  # a later version may have noted another word
    kept = f"-o StrictHostKeyChecking={checking} -o UserKnownHostsFile={pinned}"
    return f"-o HostKeyAlias={shlex.quote(alias)} {kept}{offered}"


def ssh_variables(arguments: str) -> Facts:
    """The variables that make Ansible call ssh with these options (`ssh_args`).

    Host key checking is on, since AWX turns it off for all hosts, by an option that would precede and override these.
    """
    return {**dict.fromkeys(SSH_ARGUMENTS, arguments), HOST_KEY_CHECKING: True}


def without_local_paths(variables: t.Mapping[str, t.Any]) -> Facts:
    """A host's variables for a shared registry: without paths of this controller, which are useless to others."""
    local = (*SSH_ARGUMENTS, HOST_KEY_CHECKING, "provision_identity_file")
    kept = {name: value for name, value in variables.items() if name not in local}
    checking = _host_key_checking(variables.get("ansible_ssh_extra_args"))
    return {**kept, SSH_TRUST: trust_of(checking)} if checking else kept


def _host_key_checking(options: t.Any) -> str:
    """The value of StrictHostKeyChecking in ssh options; empty if they do not set it."""
    match = re.search(r"StrictHostKeyChecking=(\S+)", str(options))
    return match[1] if match else ""


def trust_of(checking: str) -> str:
    """The value of provision_host_key_trust for a value of ssh's StrictHostKeyChecking."""
    return next((trust for trust, item in _TRUST.items() if item == checking), "first_use")


def ssh_machines(host: str, entry: Entry, known_hosts: str) -> list[Machine]:
    """The machines of a registry entry, for an ssh configuration file."""
    args = entry.connection.get("ansible_ssh_extra_args")
    checking = _host_key_checking(args) or _TRUST.get(entry.ssh_trust, "accept-new")
    names = further_names(host, len(entry.instances))
    aliases = {host: entry.offer_id, **{name: name for name in names}}
    return [
        Machine(name, item, _alias(item, alias), checking, known_hosts, entry.identity_file)
        for (name, alias), item in zip(aliases.items(), entry.instances)
    ]


def _alias(machine: t.Mapping[str, t.Any], otherwise: str) -> str:
    return str(machine.get("resource_id") or otherwise)


def instances_in_order(
    connections: Connections, noted: Connections, ids: t.Sequence[str]
) -> list[t.Mapping[str, t.Any]]:
    """The connections of a host's machines: in the noted order, since the first machine is the host, then further ones.

    A held machine (``ids``) that a later status omits keeps its place and its address. A machine that is neither held
    nor noted is left out. Keys are pinned by id. So if the API does not tell which connection is which machine's, a
    single connection gets the single id, and several stay as noted.
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
    """The variables of a host whose machine runs. In a cluster, the first machine is the host itself."""
    first = connections[0]
    arguments = ssh_args(_alias(first, offer_id), trust, known_hosts, identity)
    return {
        "provision_procured_offer_id": offer_id,
        "provision_price_per_hour": price,
        "provision_resource_ids": list(resource_ids),
        "provision_instances": [dict(connection) for connection in connections],
        **{name: first.get(name) for name in ADDRESS},  # a handwritten entry may lack some
        **ssh_variables(arguments),
    }


def example_facts(*, has_more_tasks: bool) -> Facts:
    """Example values of the variables that the role sets on a host while it still has tasks for it.

    ``has_more_tasks``: the role does more for a host whose machine runs, or that may have one, than to set these.
    """
    machine = {"resource_id": _ANY_ID, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
    machines = facts_of_machine(_ANY_ID, [_ANY_ID], [machine], 1.0, "none", "") if has_more_tasks else {}
    return {**machines, "provision_attempts": [{"offer_id": _ANY_ID, "outcome": "created", "msg": ""}]}


def connection_variables(entry: Entry, known_hosts: str, *, is_shared: bool) -> Facts:
    """The variables that reach an entry's machine; empty if they are unknown.

    Ansible itself reads files next to an inventory, but not without an inventory. ``is_shared``: the registry is
    shared.
    """
    if not is_shared:
        return {name: value for name, value in entry.connection.items() if value is not None}
    if not entry.instances:
        return {}
    every = facts_of_machine(entry.offer_id, entry.resource_ids, entry.instances, None, entry.ssh_trust, known_hosts)
    return {name: every[name] for name in CONNECTION if every[name] is not None}


def facts_of_first_boot(entry: Entry) -> Facts:
    """The variables that describe the machine's first boot, as the registry noted them with the order."""
    return {_HANDED_OVER: entry.bootstrap_host_key, BOOT_MARK: entry.boot_mark}


def lease_facts(end: float | None, bill: float | None) -> Facts:
    """The variables for the ``end`` of a lease (seconds since the epoch), and the largest bill until then (USD).

    Empty if there is no end.
    """
    return {} if end is None else {**noted_end(end), AT_MOST: None if bill is None else round(bill, 2)}


def is_registered(variables: Variables, entry: Entry, seen: t.Mapping[str, t.Any]) -> bool:
    """Whether both the registry and Ansible (``seen``: the host's own variables) have these variables already."""
    is_seen = all(str(variables[name]) == str(seen.get(name)) for name in CONNECTION)
    return is_seen and is_kept(variables, entry, CONNECTION)


def is_kept(variables: Variables, entry: Entry, connection: t.Sequence[str] = ADDRESS) -> bool:
    """Whether the entry has these variables already. In a shared registry it has no ssh options, only the address."""
    return (
        tuple(variables["provision_resource_ids"]) == entry.resource_ids
        and tuple(variables["provision_instances"]) == entry.instances
        and all(variables[name] == entry.connection.get(name) for name in connection)
    )


def further_names(host: str, count: int) -> list[str]:
    """The host names of the further machines, if the cluster has ``count`` machines."""
    return [f"{host}-{number}" for number in range(1, count)]


def names_taken(host: str, names: t.Iterable[str]) -> str:
    """A refusal: the further machines of a cluster have ``names`` of hosts in the inventory."""
    return (
        f"The further machines of {host} would be named {abridged(names)}, but the inventory already has hosts with"
        f" these names. Rename these hosts (the inventory plugin names its own by its option hostname) or {host}."
    )


def further_hosts(plan: t.Mapping[str, t.Any], connections: Connections) -> list[Facts]:
    """The further machines of a cluster as hosts in its groups. ``plan``: of the first machine."""
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


def is_further_host(host: str, variables: Variables, first: str, variables_of_first: Variables) -> bool:
    """Whether the host is a further machine of the cluster of ``first``: it has that machine's name and address."""
    machines = items_of(variables_of_first.get("provision_instances") or ())
    address = [str(variables.get(name)) for name in ADDRESS]
    return any(
        name == host and [str(machine.get(key)) for key in ADDRESS] == address
        for name, machine in zip(further_names(first, len(machines)), machines[1:])
    )


def owned_row(host: str, entry: Entry) -> Facts:
    """The row of a host with machines, for workflows and tables. ``price_per_hour``: USD, of all its machines.

    ``at_most`` (USD) is the largest bill until ``ends_at``; both are None without a lease. ``entry``: by the registry,
    or by the host's own variables.
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
    """The task file by which the role reaches a running machine; empty if it does not have to.

    In a shared registry, the first host key that is seen is noted for the other controllers.
    """
    if not reach:
        return ""
    if verify or (trust == "seeded" and entry.bootstrap_host_key):
        return "prepare"
    return "reach_and_share_key" if shares_host_keys(trust, keeps_host_keys) and not entry.host_keys else "reach"


def shares_host_keys(trust: str, keeps_host_keys: bool) -> bool:
    """Whether the registry keeps host keys for other controllers. ``trust``: provision_host_key_trust."""
    return keeps_host_keys and trust != "none"


def entry_of_plan(plan: Variables, variables: Variables | None) -> Variables | None:
    """The entry if it is still about the plan's purchase; None if another run has bought for the host since."""
    return variables if variables is not None and is_about(variables, plan["offer_id"]) else None


def noted_once_reached(plan: Variables, before: Variables | None) -> dict[str, t.Any]:
    """The changes after a machine was reached: it may be verified, and the host key that it was given is used up.

    ``before``: the registry's variables; None without an entry.
    """
    tested = {"provision_verified": True} if plan["verify"] else {}
    return {**tested, **({_HANDED_OVER: None} if _HANDED_OVER in (before or {}) else {})}
