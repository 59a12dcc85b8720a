# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan for all hosts of a play at once: read the registry, ask the API, and let `_provision` decide.

This module util is private to the collection.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
import typing as t
import uuid
from dataclasses import replace

from .. import _decide_spec, _states
from .._api import ApiError, Json
from .._market import Market
from .._moments import seconds_of
from .._on_api import ADVICE, on_api
from .._operation import Failure, Params, Result
from .._provision import ceilings, choosing, lease, messages, ownership, planning, registration
from .._provision.ceilings import Live
from .._provision.declaration import Declaration, read_declaration
from .._provision.entry import Entry, read_entry
from .._provision.failover import OF_THE_OFFER
from .._provision.lease import Clock
from .._provision.place import Place
from .._provision.planning import BUY, KEEP, LATER, STOP, WAIT, Case, Found, Plan
from .._provision.purchase_messages import NOTHING_SENT
from .._provision.spending import Ledger
from .._provision.standing import Account, Kind, Standing, doubtful, standing
from .._provision.sums import UNLIMITED, add_up
from .._registry._files import read_text
from .._registry._protocol import Registry, RegistryError, Variables
from .._ssh_key import fingerprint, has_passphrase, public_half
from .._text import number_of
from .._wording import amount, table, usd_short
from ._leases import Lifetime, Sweeps, idles, leased, lifetimes_of, lives, warnings_of
from ._memory import Memory, bring_ssh_up_to_date
from ._registries import Registries, with_registries
from ._searches import Searches
from ._unlisted import read_by_id, unlisted
from ._waiting import told, waits
from .offer_status import offer_statuses

BLANK: Result = {"changed": False, "plans": [], "waits": False}


@with_registries
def plan(api: Market, registries: Registries, params: Params, check_mode: bool) -> Result:
    """A plan for each of ``hosts``. What is wrong with one is told in its plan; it fails by itself, later."""
    return _plan(api, registries, params, check_mode)


def _plan(api: Market, registries: Registries, params: Params, check_mode: bool) -> Result:
    sweeps = Sweeps(registries)
    hosts = [_declared(raw, registries, params, sweeps) for raw in params["hosts"]]
    if params["forbidden"]:
        refused = [Plan(host.host, STOP, refusal=params["forbidden"]) for host in hosts]
        return _answer(refused, [], registries, params, check_mode, api.account, Clock(time.time()), {})
    memory = _Known(registries, hosts)
    known = {host.host: memory.of(host) for host in hosts}
    for raw, host in zip(params["hosts"], hosts):
        left = registries.left_behind(raw, params, known[host.host].offer_id)
        is_another = messages.ANOTHER_REGISTRY if raw["registry_mark"] != params["registry_mark"] else ""
        memory.refuse(host.host, memory.foreign(host.registry, host.host, host.project) or is_another or left)
    statuses = _statuses(api, hosts, known)
    account = _account(api, hosts, known, statuses, memory)
    account = replace(account, read=read_by_id(api, doubtful(known, statuses, account)))
    try:
        late = [] if check_mode else registries.take_late(account.unclaimed)
    except RegistryError as error:
        raise Failure(f"{error} {NOTHING_SENT}", error.error_class) from None
    if late:  # the registry says something else now
        planned = _plan(api, registries, params, check_mode)
        return {**planned, "changed": True, "warnings": [*late, *planned["warnings"]]}
    cases = [_fitting(api, _case(host, known[host.host], statuses, account, memory, params)) for host in hosts]
    warnings: list[str] = []
    prices, unread = memory.prices(params["others"])
    clock = Clock(time.time(), api.ahead)
    plans = planning.plan(
        cases,
        Searches(api, warnings).of,
        {case.wanted: _read(api, case) for case in cases if case.buys and case.wanted},
        taken=memory.taken(known.values()),
        others=[*prices, *(None for case in cases if memory.trouble(case.host.registry, case.host.host))],
        unread=unread,
        failed=params["failed"],
        now=clock.latest,
        live=_live(account, cases, memory),
        spent=_spent(registries, cases, params, clock.latest),
    )
    waiting = {} if check_mode else waits(cases, plans, params, clock.here, account.unreadable)
    if waiting:
        return {**BLANK, "waits": True, **waiting}
    plans = told(cases, plans, params)
    try:
        changed = False if check_mode else memory.note(cases, clock)
    except RegistryError as error:
        raise Failure(f"{error} {NOTHING_SENT}", error.error_class) from None
    for case in () if check_mode else cases:
        registries.pin(case.host.registry, case.host.host, case.entry)
    finished = [
        _named_apart(_finished(case, draft, statuses, registries), params["inventory"])
        for case, draft in zip(cases, plans)
    ]
    if any(draft.action == BUY for draft in plans) and not params["quote"]:
        warnings += [*_other_halves(params["hosts"], hosts), *_locked_keys(hosts)]
    warnings += [planning.drift(case.host, case.entry) for case in cases if case.standing.owns]
    if not params["quote"]:
        warnings += [draft.missed for draft in finished]
        warnings.append(_waves(sum(draft.action == BUY for draft in finished), params["forks"]))
    warnings += warnings_of(cases, finished, statuses, clock, sweeps)
    if not (check_mode or params["quote"]):
        warnings += bring_ssh_up_to_date(registries, (host.registry for host in hosts), None if changed else memory)
    taken = [(case.host.host, case.standing) for case in cases if case.standing.adopted]
    warnings += [messages.adopted(host, found.machines, found.offer_id) for host, found in taken]
    answer = _answer(finished, cases, registries, params, check_mode, api.account, clock, statuses)
    return {**answer, "changed": changed, "warnings": list(dict.fromkeys(filter(None, warnings)))}


def _waves(buyers: int, forks: int) -> str:
    """That purchases would wait for each other; each holds a fork for as long as the API takes for it."""
    return messages.few_forks(buyers, forks) if 0 < forks < buyers else ""


def _declared(raw: t.Mapping[str, t.Any], registries: Registries, params: Params, sweeps: Sweeps) -> Declaration:
    place = registries.place(raw, params)
    key = os.path.expanduser(str(raw["ssh_public_key_file"]))
    raw = {**raw, "connection": raw["connection"] or params["connection"]}
    missing = "" if params["quote"] or raw["has_ssh_public_key"] or os.path.isfile(key) else os.path.abspath(key)
    identity = str(raw["identity_file"] or params["identity_file"] or "")
    given = identity and os.path.join(params["here"], os.path.expanduser(identity))
    raw["identity_file"] = given or ("" if raw["has_ssh_public_key"] else _private_half(key))
    declaration = read_declaration(raw, place, missing, time.time(), params["no_login"])
    objections = list(declaration.objections)
    if declaration.lease and declaration.unswept == "refuse":
        objections += filter(None, [sweeps.trouble(place, refused=True)])
    shadowed = [path for path in _shadows(declaration) if os.path.exists(path)]
    if shadowed:
        objections.append(messages.shadowed(shadowed))
    if params["job_keys"] is not None and declaration.reach and not declaration.identity_file:
        objections += filter(None, [_locked_out(raw["ssh_fingerprint"] or _fingerprint_in(key), params["job_keys"])])
    if params["slice_of"] and not place.keeps_sums:
        objections += [messages.sliced_total(params["slice_of"], name) for name in _ceilings_of_all(declaration)]
    return replace(declaration, objections=tuple(objections))


def _private_half(public: str) -> str:
    """The private key beside a public one, absolute; empty if there is none.

    Of keys with names of their own ssh knows nothing, nor of those in a HOME that is not the user's home to the system.
    """
    private, ending = os.path.splitext(os.path.abspath(public))
    return private if ending == ".pub" and os.path.isfile(private) else ""


def _locked_out(own: str, job_keys: str) -> str:
    """Why a job of AWX could not log in to the machine: its machine credential and the public key are changed apart.

    ``own``: the key's fingerprint; what is wrong with a key that has none, others say. ``job_keys``: ``ssh-add -l``.
    """
    return messages.locked_out(own, job_keys.strip()) if own and own not in job_keys.split() else ""


def _fingerprint_in(path: str) -> str:
    """Of the public key in a file; empty if it cannot be read."""
    with contextlib.suppress(OSError, UnicodeError):
        return fingerprint(read_text(path) or "")
    return ""


def _ceilings_of_all(host: Declaration) -> t.Iterator[str]:
    """The variables of the host that limit others, too."""
    for name, ceiling in (
        ("provision_max_total_price_per_hour", host.max_total_price_per_hour),
        ("provision_max_account_price_per_hour", host.max_account_price_per_hour),
        ("provision_budget", host.budget),
    ):
        if ceiling != UNLIMITED:
            yield name


def _other_halves(raws: t.Iterable[t.Mapping[str, t.Any]], hosts: t.Iterable[Declaration]) -> t.Iterator[str]:
    """What is odd about pairs of keys, as far as both files can be read; an inline key is not looked at."""
    pairs = {
        (os.path.expanduser(str(raw["ssh_public_key_file"])), host.identity_file)
        for raw, host in zip(raws, hosts)
        if host.identity_file and not raw["has_ssh_public_key"]
    }
    for public, private in sorted(pairs):
        with contextlib.suppress(OSError, UnicodeError):
            found = public_half(read_text(private) or "")
            if found and found.split() != (read_text(public) or "").split()[:2]:
                yield messages.other_half(public, private)


def _locked_keys(hosts: t.Iterable[Declaration]) -> t.Iterator[str]:
    """Private keys that ssh cannot use: others may read them, or nobody is there to say their passphrase."""
    if os.environ.get("SSH_AUTH_SOCK"):
        return  # the agent may know them
    for private in sorted({host.identity_file for host in hosts if host.identity_file and host.reach}):
        with contextlib.suppress(OSError, UnicodeError):
            found = os.stat(private)
            if found.st_uid == os.getuid() and found.st_mode & 0o077:  # as ssh asks, in sshkey_perm_ok
                yield messages.open_key(private)
            elif has_passphrase(read_text(private) or ""):
                yield messages.no_agent(private)


def _shadows(host: Declaration) -> list[str]:
    """Files of the host's own variables, ceilings and all, that Ansible reads no more beside a folder of that name."""
    folder = host.registry if host.registry_file else ""
    return [f"{folder}/{host.host}{end}" for end in (".yml", ".yaml", ".json")] if folder else []


class _Known(Memory):
    """What the registries say: of the hosts that are planned, and of all others in their folders."""

    def __init__(self, registries: Registries, hosts: t.Sequence[Declaration]) -> None:
        super().__init__(registries, (host.registry for host in hosts))
        self._registries = registries
        self._elsewhere: dict[str, str] = {}
        self._planned = {(host.registry, host.host) for host in hosts}

    def of(self, host: Declaration) -> Entry:
        """The host's entry. Without a registry what an earlier run of the role in this play has given to the host."""
        return read_entry(host.known) if host.by_name else self.entry(host.registry, host.host)

    def refuse(self, host: str, reason: str) -> None:
        """Do nothing for the host if there is a reason: it is remembered elsewhere."""
        self._elsewhere[host] = reason

    def trouble(self, place: Place, host: str) -> str:
        """Why the host's entry cannot be read, or is not all that there is; empty otherwise."""
        return super().trouble(place, host) or self._elsewhere.get(host, "")

    def others(self) -> t.Iterator[tuple[str, Entry]]:
        """The entries of hosts that are not planned."""
        for place, name, entry in self.all():
            if (place, name) not in self._planned:
                yield name, entry

    def taken(self, known: t.Iterable[Entry]) -> set[str]:
        """Offers that are spoken for: what an entry names its host has, or may still buy."""
        every = [*(entry for _name, entry in self.others()), *known]
        return {entry.offer_id for entry in every if entry.offer_id and not entry.is_refused}

    def prices(self, facts: t.Mapping[str, t.Any]) -> tuple[list[float | None], list[str]]:
        """What further hosts of the play cost (USD per hour), and those of which nobody can tell.

        A shared registry knows all that is billed in its projects, and that is what its users mean.

        ``facts``: what their variables say, None for a host that no task of ours has seen yet.
        """
        known = dict(self.others())
        if any(place.keeps_sums for place, _host in self._planned):
            return [*(entry.price_per_hour for entry in known.values()), *self.strays()], []
        prices, unread = [], []
        for name, fact in facts.items():
            if fact is not None:
                prices.append(number_of(fact))
            elif name in known:
                prices.append(0.0 if known[name].is_empty or known[name].is_refused else known[name].price_per_hour)
            elif not self.keeps:
                unread.append(name)
        return prices, unread

    def billed(self) -> t.Iterator[Entry]:
        """What is or may be billed by all that is remembered here, but for the hosts that are planned."""
        for _name, entry in [*self.others(), *self.beside()]:
            if not (entry.is_empty or entry.is_refused):
                yield entry

    def note(self, cases: t.Sequence[Case], clock: Clock) -> bool:
        """Remove what has come to nothing, and note what was adopted; whether that changed anything."""
        changed = False
        for case in cases:
            ends, adopts = not case.entry.is_empty and case.standing.void, case.standing.adopted
            if self.trouble(case.host.registry, case.host.host) or not (ends or adopts):
                continue
            registry = self._registries.at(case.host.registry).host(case.host.host)
            if registry is None or not _is_still(registry, case.entry):
                continue  # what another run has begun since, the purchase meets
            if ends:
                registry.end()
            if adopts:
                registry.note({**_adoption(case.standing), **leased(case.host, clock)})
            changed = True
        return changed


def _is_still(registry: Registry, entry: Entry) -> bool:
    """Whether the registry says of the host what it said when it was read for the plan. Raises RegistryError."""
    now = read_entry(registry.read())
    return (now.offer_id, now.resource_ids, now.journaled_at) == (
        entry.offer_id,
        entry.resource_ids,
        entry.journaled_at,
    )


def _adoption(found: Standing) -> Variables:
    return {
        "provision_procured_offer_id": found.offer_id,
        "provision_price_per_hour": found.price_per_hour,
        "provision_purchase": "made",
        "provision_adopted": True,
        "provision_resource_ids": list(found.resource_ids),
        "provision_journaled_at": next((m["created_at"] for m in found.machines if m.get("created_at")), None),
    }


def _statuses(api: Market, hosts: t.Sequence[Declaration], known: t.Mapping[str, Entry]) -> dict[str, Json]:
    """What became of the offers that the registry names, by their ids."""
    return offer_statuses(api, {known[host.host].offer_id for host in hosts if not known[host.host].is_refused})


def _account(
    api: Market,
    hosts: t.Sequence[Declaration],
    known: t.Mapping[str, Entry],
    statuses: t.Mapping[str, Json],
    memory: _Known,
) -> Account:
    """The account's machines with their owners, where a host needs to know them."""
    claims = [ownership.claim_of(h.host, h.name, known[h.host], by_name=h.by_name or h.adopt) for h in hosts]
    claims += [ownership.noted_claim(name, entry) for name, entry in memory.others()] + memory.further()
    if not any(_asks_for_the_list(host, known[host.host], statuses) for host in hosts):
        return Account.of(claims, None)
    try:
        machines = api.resources()
    except ApiError as error:
        advice = ADVICE.get(error.error_class, "")
        return Account.of(claims, None, messages.joined(str(error), advice, "Nothing was bought."))
    return Account.of(claims, machines + unlisted(api, _ids_of_failed(known, statuses), machines))


def _live(account: Account, cases: t.Sequence[Case], memory: _Known) -> Live:
    """What is billed on the account or is being bought, beside what the cases would buy; if anybody wants to know."""
    if all(case.host.max_account_price_per_hour == UNLIMITED for case in cases):
        return Live()
    if account.machines is None:
        return Live(unreadable=account.unreadable or messages.NOT_ASKED_FOR)
    billed = [machine for machine, _owner in account.machines if not _states.is_gone(machine["status"])]
    known = [*memory.billed(), *(case.entry for case in cases if case.may_be_billed)]
    noted = {mark for entry in known for mark in _marks(entry)}
    owned: list[ownership.Machine] = []
    foreign: list[ownership.Machine] = []
    for machine in billed:
        own = {ownership.id_of(machine), ownership.offer_of(machine)}
        (foreign if noted.isdisjoint(own) else owned).append(machine)
    listed = {mark for machine in owned for mark in (ownership.id_of(machine), ownership.offer_of(machine))}
    buying = {case.entry.offer_id for case in cases if case.buys}
    unlisted = [entry for entry in known if entry.offer_id not in buying and listed.isdisjoint(_marks(entry))]
    prices = [machine["price_per_hour"] for machine in owned]
    return Live(
        (*prices, *(entry.price_per_hour for entry in unlisted)), tuple(each["price_per_hour"] for each in foreign)
    )


def _marks(entry: Entry) -> set[str]:
    return {*entry.resource_ids, entry.offer_id} - {""}


def _spent(registries: Registries, cases: t.Sequence[Case], params: Params, now: float) -> dict[str, Ledger]:
    """This month's ledgers of the projects in which a host has a budget and would buy, of all their places."""
    _name, begin, _end = ceilings.month_of(now)
    found: dict[str, Ledger] = {}
    for project in {case.host.project for case in cases if case.host.budget != UNLIMITED and case.buys}:
        try:
            found[project] = registries.ledger(registries.places(params, project).values(), begin)
        except RegistryError as error:
            found[project] = Ledger((), now, unreadable=str(error))
    return found


def _asks_for_the_list(host: Declaration, entry: Entry, statuses: t.Mapping[str, Json]) -> bool:
    """Whether neither its declaration nor its offer's status says all that there is to know of a host."""
    if entry.is_empty:
        return not host.objections
    phase = statuses.get(entry.offer_id, {}).get("phase")
    return not entry.resource_ids or phase not in (_states.READY, _states.GOING_ON, _states.UNBOUGHT)


def _ids_of_failed(known: t.Mapping[str, Entry], statuses: t.Mapping[str, Json]) -> t.Iterator[str]:
    """The ids of the machines of failed offers, by the registry and by the offers' statuses."""
    for entry in known.values():
        status = statuses.get(entry.offer_id, {})
        if status.get("phase") == _states.FAILED:
            yield from (*entry.resource_ids, *status["resource_ids"])


def _case(
    host: Declaration, entry: Entry, statuses: t.Mapping[str, Json], account: Account, memory: _Known, params: Params
) -> Case:
    trouble = memory.trouble(host.registry, host.host)
    if trouble:
        found = Standing(Kind.STOP, reason=f"{trouble} {NOTHING_SENT}")
    else:
        found = standing(host, entry, statuses.get(entry.offer_id), account)
    return Case(host, entry, found, params["attempts"].get(host.host) or ())


def _fitting(api: Market, case: Case) -> Case:
    """The case, unless what would be adopted is not what was declared: what the list does not tell, the offer does."""
    found, host = case.standing, case.host
    if not found.adopted or found.kind is Kind.FAILED or len(found.machines) != 1:
        return case
    try:
        odd = choosing.misfit(host.choices, api.offer(found.offer_id))
    except ApiError:
        return case
    if not odd:
        return case
    reason = messages.does_not_fit(host.host, host.name, found.machines, odd)
    return Case(host, case.entry, Standing(Kind.STOP, reason=reason), case.attempts)


def _read(api: Market, case: Case) -> Found:
    """The very offer that a host wants, at its fresh price."""
    offer_id = case.wanted
    try:
        offer = api.offer(offer_id)
    except ApiError as error:
        if case.standing.kind is not Kind.OPEN:
            return Found(said=str(error), is_gone=error.error_class in OF_THE_OFFER)
        # What may be bought already is settled by the purchase, whatever its page says.
        return Found([{**case.entry.offer, "offer_id": offer_id, "price_per_hour": case.entry.price_per_hour}])
    return Found([{**offer, "offer_id": offer_id}])


def _finished(case: Case, draft: Plan, statuses: t.Mapping[str, Json], registries: Registries) -> Plan:
    """A host whose machine runs just as it is registered needs nothing but to be reached."""
    status = statuses.get(case.entry.offer_id) or {}
    connections = status.get("connections") or []
    # A cluster's further machines must be added as hosts in each run.
    if draft.action != WAIT or case.standing.kind is not Kind.READY or len(connections) != 1:
        return draft
    host = case.host
    found = registration.facts(
        case.standing.offer_id,
        case.standing.resource_ids,
        connections,
        case.entry.price_per_hour,
        host.trust,
        registries.at(host.registry).known_hosts(host.host, case.standing.offer_id),
        host.identity_file,
    )
    if host.registry.hands_facts:
        # Nothing beside the inventory says this to Ansible.
        if case.entry.ends_at:
            found.update({lease.ENDS_AT: case.entry.ends_at, lease.AT_MOST: case.entry.at_most})
        return replace(draft, action=KEEP, facts=found) if registration.is_kept(found, case.entry) else draft
    if not registration.is_registered(found, case.entry, host.known):
        return draft
    return replace(draft, action=KEEP)


def _named_apart(draft: Plan, inventory: t.Mapping[str, t.Any]) -> Plan:
    """The plan, unless the further machines of a cluster would take over hosts of the inventory."""
    count = number_of(draft.offer.get("node_count")) or 1
    taken = [name for name in registration.further_names(draft.host, int(count)) if name in inventory]
    if draft.action != BUY or not taken:
        return draft
    refusal = f"{messages.names_taken(draft.host, taken)} {NOTHING_SENT}"
    return replace(draft, action=STOP, refusal=refusal)


def _answer(
    plans: t.Sequence[Plan],
    cases: t.Sequence[Case],
    registries: Registries,
    params: Params,
    check_mode: bool,
    account: str,
    clock: Clock,
    statuses: t.Mapping[str, Json],
) -> Result:
    known = {case.host.host: case for case in cases}
    call = uuid.uuid4().hex
    declarations = {raw["host"]: raw["id"] for raw in params["hosts"]}
    shown = []
    for draft in plans:
        row = _shown(draft, known.get(draft.host), registries, call, check_mode)
        if draft.action == BUY:
            # What the task that buys has of it, no more, since Ansible returns it all with the result of the task.
            part = {name: row[name] for name in ("label", "cluster", "poll")}
            row["purchases"] = [{**part, **_purchase(draft, known[draft.host].host, account, clock)}]
        shown.append({**row, "declaration": declarations[draft.host]})
    kept = {
        draft.host: registration.row_of(draft.host, known[draft.host].entry) for draft in plans if draft.action == KEEP
    }
    common = {
        "call": call,
        "consumed": [*params["consumed"], *params["ids"]],
        # In batches none can speak for those that come later: ansible-core 2.21 remembers a task's run_once.
        "none_first": not params["serial"] and not any(each["first"] for each in shown),
        "none_next": not params["serial"] and not any(each["next"] for each in shown),
        "acquires": any(draft.action in (BUY, WAIT) for draft in plans),
        "under_way": [draft.offer_id for draft in plans if draft.action == WAIT],
        "labels": {draft.offer_id: draft.host for draft in plans if draft.offer_id},
        "poll": _poll([case.host for case in cases]),
        "registry": _kept_in([case.host.registry for case in cases], registries, params["here"]),
        **_login(
            [case.host.registry for case in cases],
            params["here"],
            check_mode,
            leased=any(case.entry.ends_at or (case.host.lease and not case.standing.owns) for case in cases),
            clusters=any(each.get("cluster") for each in shown)
            or any(len(case.entry.resource_ids) > 1 for case in cases),
        ),
    }
    answer: Result = {
        **BLANK,
        "plans": [each for each in shown if each["action"] != KEEP or each["next"] or each["facts"]],
        "common": common,
    }
    if params["quote"]:
        return {**answer, **quoted(plans, common["registry"], lifetimes_of(plans, known, statuses, clock))}
    data: Result = {"provision_hosts": kept} if kept else {}
    if any(case.host.patience.is_of_many_runs for case in cases):
        data["provision_waiting"] = [draft.host for draft in plans if draft.action == LATER]
    if data:
        answer["ansible_stats"] = {"data": data, "per_host": False, "aggregate": True}
    return answer


_ALTERNATIVES = 3  # offers that nobody would get, shown beside the others
_COLUMNS = {
    "host": "host",
    "GPUs": "gpus",
    "contract": "contract_type",
    "USD/h": "price_per_hour",
    "vendor": "vendor",
    "region": "region",
}
_PUBLISHED = ("offer_id", "gpu_count", "gpu_type", "contract_type", "vendor", "region", "price_per_hour", "expires_at")


def quoted(plans: t.Sequence[Plan], kept_in: str, lifetimes: t.Mapping[str, Lifetime] | None = None) -> Result:
    """What the hosts would cost: lines for a person, and the artifact ``quote`` for workflows."""
    lifetimes = lifetimes or {}
    rows: list[Result] = []
    hosts = {}
    for draft in plans:
        owned = draft.action in (KEEP, WAIT)
        own = {"offer_id": draft.offer_id, "gpu_type": "owned already", "price_per_hour": draft.price_per_hour}
        offer = own if owned else draft.offer
        rows.append(_quoted_row(draft.host, offer or {"gpu_type": "no offer"}))
        known = {name: offer[name] for name in _PUBLISHED if name in offer}
        life = lifetimes.get(draft.host, Lifetime())
        known["ends_at"] = None if life.end is None else lease.utc(life.end)
        known["at_most"] = None if life.bill is None else round(life.bill, 2)
        hosts[draft.host] = {"owned": owned, "refusal": draft.refusal, **known}
    taken = {draft.offer_id for draft in plans}
    spare = {each["offer_id"]: each for draft in plans for each in draft.alternatives if each["offer_id"] not in taken}
    rows += [_quoted_row("or", each) for each in list(spare.values())[:_ALTERNATIVES]]
    total = add_up([number_of(each["price_per_hour"]) for each in hosts.values() if "price_per_hour" in each])
    unknown = f", and {total.unknown} unknown price(s)" if total.unknown else ""
    refusals = dict.fromkeys(said for draft in plans for said in (draft.missed, draft.refusal) if said)
    # Who approves a quote must know how long there is to think.
    expiries = (seconds_of(each.get("expires_at")) for each in hosts.values() if not each["owned"])
    ends = [moment for moment in expiries if moment is not None]
    said = [messages.quoted_until(lease.said(min(ends)))] if ends else []
    said += [f"USD per hour in total: {amount(total.total)}{unknown}", *lives(lifetimes)]
    said += [kept_in[:1].upper() + kept_in[1:]]
    # Where nobody gets one, the refusals say it all.
    lines = [*table(rows, _COLUMNS), ""] if any("price_per_hour" in row for row in rows) else []
    lines += [*said, *refusals]
    return {
        "lines": lines,
        "refusals": {draft.host: draft.refusal for draft in plans if draft.refusal},
        "ansible_stats": {
            "data": {"quote": {"hosts": hosts, "price_per_hour": total.total}},
            "per_host": False,
            "aggregate": True,
        },
    }


def _quoted_row(host: str, offer: ownership.Machine) -> Result:
    """A row of the quote's table."""
    count = f"{offer['gpu_count']} x " if offer.get("gpu_count") else ""
    return {**offer, "host": host, "gpus": f"{count}{offer.get('gpu_type')}"}


_LARGEST = 8  # GPUs of one machine
_COUNTED = {"machines": "machines"}
_LEASED = {"until": "ends_at", "at most": "at_most"}


def _is_cluster(draft: Plan) -> bool:
    """Whether the offer has several machines; where the API does not tell, by its GPUs."""
    nodes, gpus = number_of(draft.offer.get("node_count")), number_of(draft.offer.get("gpu_count"))
    return (nodes or 1) > 1 or (gpus or 1) > _LARGEST


def _login(places: t.Sequence[Place], here: str, check_mode: bool, *, leased: bool, clusters: bool) -> Result:
    """The columns of the table of what runs, and, in a list, the command that takes a host's name and logs in.

    Without a registry nothing keeps the machines' addresses and host keys: then each row has a command of its own.
    """
    path = next((place.ssh_config for place in places if place), "")
    counted = _COUNTED if clusters else {}
    columns = {"host": "host", **counted, "USD/hour": "price_per_hour", **(_LEASED if leased else {})}
    if not path or (check_mode and not os.path.exists(path)):
        return {"columns": {**columns, "ssh": "ssh"}, "logins": []}
    login = f"ssh -F {shlex.quote(_shortest(path, here))}"
    return {"columns": {**columns, "address": "ansible_host"}, "logins": [login]}


def _reached_by(case: Case) -> str:
    """The file of the role that follows for a machine that runs."""
    host = case.host
    return registration.reached_by(host.reach, case.verifies, case.entry, host.trust, host.registry.keeps_host_keys)


def _kept_in(places: t.Sequence[Place], registries: Registries, here: str) -> str:
    """Where the hosts are remembered, for a line of the play."""
    try:
        names = [registries.at(place).name() for place in dict.fromkeys(filter(None, places))]
    except RegistryError as error:
        return f"no registry: {error}"
    shown = ", ".join(_shortest(name, here) if os.path.isabs(name) else name for name in names)
    return f"registry: {shown}" if names else "no registry, machines are known by their names"


def _shortest(path: str, here: str) -> str:
    """The path from here, or the whole of it."""
    return min(path, os.path.relpath(path, here), key=len)


def _poll(hosts: t.Sequence[Declaration]) -> Result:
    """How the machines are waited for together: as often and as long as any of the hosts wants."""
    return {
        "delay": min((host.poll_delay for host in hosts), default=0),
        "retries": max((host.poll_retries for host in hosts), default=0),
    }


def _shown(draft: Plan, case: Case | None, registries: Registries, call: str, check_mode: bool) -> Result:
    """A plan as a plain mapping: what the role's tasks need, and a person can read at -v."""
    if case is None:
        return {
            "host": draft.host,
            "call": call,
            "action": STOP,
            "first": "stop.yml",
            "next": "",
            "facts": {},
            "refusal": draft.refusal,
            "label": _label(draft),
            "attempts": [],
        }
    host = case.host
    facts = {**draft.facts, "provision_bootstrap_host_key": case.entry.bootstrap_host_key} if draft.facts else {}
    first = {STOP: "stop.yml", LATER: "later.yml", BUY: "seeded.yml" if host.trust == "seeded" else ""}
    known_hosts = registries.at(host.registry).known_hosts(host.host, draft.offer_id)
    # What was taken over may be in use, and was not bought by this purchase.
    unused = not (case.entry.was_ready or case.standing.adopted)
    return {
        "host": draft.host,
        "call": call,
        "action": draft.action,
        # The role's files that follow, before anything is bought and after it.
        "first": first.get(draft.action, ""),
        "next": _reached_by(case) if draft.action == KEEP else "",
        "facts": facts,
        "offer_id": draft.offer_id,
        "offer": dict(draft.offer),
        "price_per_hour": draft.price_per_hour,
        "resource_ids": list(draft.resource_ids),
        "label": draft.label or _label(draft),
        "error_class": "capacity" if draft.lacks and draft.action == STOP else "",
        "refusal": draft.refusal,
        "owned": case.standing.owns,
        "wanted": bool(host.offer_id),
        "advice": host.advice,
        "unused": unused,
        "left": case.left,
        "attempts": [dict(attempt) for attempt in case.attempts],
        "may_release": host.on_failure == "release" and unused and not check_mode,
        "registry": host.registry.text,
        "registry_file": host.registry_file,
        "known_hosts_file": known_hosts,
        "trust": host.trust,
        "identity_file": host.identity_file,
        "name": host.name,
        "groups": list(host.groups),
        "poll": _poll([host]),
        "cluster": bool(host.cluster_name) or _is_cluster(draft),
        "verify": case.verifies,
        "reach": host.reach,
        "lease": host.lease.text,
    }


def _purchase(draft: Plan, host: Declaration, account: str, clock: Clock) -> Result:
    """What the purchase is told: ``options`` of procure_offer, and the ``note`` that the registry keeps with it.

    Options that are not given are there, too, or a play's module_defaults would give them. A file knows nothing of
    other controllers, so there the sum of the project is checked here alone.
    """
    has_total = host.registry.keeps_sums and host.max_total_price_per_hour != UNLIMITED
    return {
        "options": {
            "offer_id": draft.offer_id,
            "resource_name": host.name,
            "cluster_name": host.cluster_name or None,
            "price_per_hour": draft.price_per_hour,
            "max_price_per_hour": draft.max_price_per_hour,
            "max_total_price_per_hour": host.max_total_price_per_hour if has_total else None,
            "max_account_price_per_hour": draft.max_account_price_per_hour,
            "registry_file": host.registry_file or None,
            "project": host.project,
            "host": host.host,
            "account": account,
        },
        "note": {
            "provision_offer": planning.kept_of(draft.offer),
            "provision_groups": list(host.groups),
            **leased(host, clock),
            **idles(host),
        },
    }


def _label(draft: Plan) -> str:
    if draft.action == STOP:
        return messages.nothing_below(draft.host)
    verb = {KEEP: "runs as registered", WAIT: "is bought"}[draft.action]
    return f"{verb}, {usd_short(draft.price_per_hour)}"


PLAN = on_api(Market, plan, _decide_spec.PLAN, BLANK)
